// SPDX-License-Identifier: Apache-2.0
/** The zone of workloads over a real database, asked by node's resolver through the name server. */
import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type RawBuilder, sql } from "kysely";
import { describe, expect, it } from "vitest";
import { ownDatabase } from "#testing/own-database.ts";
import { openDatabase } from "../../database/open.ts";
import { hostDomain } from "../../surfaces/workloads/view.ts";
import { openAccount } from "../identity/index.ts";
import { Batches } from "./batches.ts";
import { KEEP_MS, openZoneRecords } from "./records.ts";
import { resolverOf, serve, ZONE } from "./testing.ts";

const zone = ZONE.origin;
const { cloned, db } = await ownDatabase(10);

const run = (statement: RawBuilder<unknown>) => statement.execute(db.run);

async function addHost(host: string | null, id = `host_${randomBytes(16).toString("hex")}`): Promise<string> {
  const facts = host === null ? {} : { ingress: { host, httpPort: 80, httpsPort: 443, caPem: "" } };
  await run(sql`insert into hosts (id, facts) values (${id}, ${JSON.stringify(facts)}::jsonb)`);
  return id;
}

async function addWorkload(host: string | null): Promise<string> {
  const id = randomUUID();
  const machine = `mach_${randomBytes(16).toString("hex")}`;
  const email = `a${randomBytes(5).toString("hex")}@example.com`;
  const { accountId: account } = await openAccount(db.run, { email, jurisdiction: "US" });
  await run(sql`
    insert into machines (id, account_id, host_id, spec, surface, created_at)
    values (${machine}, ${account}, ${host}, '{}', 'workloads', now())`);
  await run(sql`
    insert into workloads (id, account_id, machine_id, name, artifacts_version, public_service, public_port,
      cpus, gpus, memory_mb, disk_gb, domain, compose_sealed, payload_sealed, cost_micros_per_min)
    values (${id}::uuid, ${account}, ${machine}, 'w', '0.1.0', 'api', 80, 1, 0, 512, 5, ${`${id}.${zone}`}, '', '', 1)`);
  return id;
}

const open = async () => {
  const records = openZoneRecords({ db: db.run, zone, instancesZone: "instances.test" });
  const { port } = await serve({ lookup: records.lookup, serial: records.serial });
  return { records, resolver: resolverOf(port) };
};
const missing = { code: "ENOTFOUND" };
const without = { code: "ENODATA" };

describe("the zone of workloads", () => {
  it("has a workload at the address of the host that has its machine", async () => {
    const { resolver } = await open();
    const [four, six] = [
      await addWorkload(await addHost("192.0.2.7")),
      await addWorkload(await addHost("2001:db8::7")),
    ];
    expect(await resolver.resolve4(`${four}.${zone}`)).toEqual(["192.0.2.7"]);
    expect(await resolver.resolve4(`${four.toUpperCase()}.${zone}`)).toEqual(["192.0.2.7"]);
    await expect(resolver.resolve6(`${four}.${zone}`)).rejects.toMatchObject(without);
    expect(await resolver.resolve6(`${six}.${zone}`)).toEqual(["2001:db8::7"]);
  });

  it("leads to a host's own name where it gave no address, and nowhere where nobody outside knows the name", async () => {
    const { resolver } = await open();
    const named = await addWorkload(await addHost("h1.hosting.example"));
    expect(await resolver.resolveCname(`${named}.${zone}`)).toEqual(["h1.hosting.example"]);
    for (const host of [await addHost("localhost"), await addHost("fe80::1%eth0"), await addHost(null), null])
      await expect(resolver.resolve4(`${await addWorkload(host)}.${zone}`)).rejects.toMatchObject(without);
  });

  it("has a host at the name that the surface gives it", async () => {
    const { resolver } = await open();
    const id = await addHost("192.0.2.8");
    expect(await resolver.resolve4(hostDomain(id, zone))).toEqual(["192.0.2.8"]);
    await expect(resolver.resolve4(`00000000.metal.${zone}`)).rejects.toMatchObject(missing);
    await expect(resolver.resolve4(`metal.${zone}`)).rejects.toMatchObject(without);
  });

  it("has no host that was put out, alone or beside one whose id begins alike", async () => {
    const { resolver } = await open();
    const start = randomBytes(4).toString("hex");
    const [one, two] = ["1", "2"].map((last) => `host_${start}${last.repeat(24)}`);
    await addHost("192.0.2.1", one);
    await addHost("192.0.2.2", two);
    await run(sql`update hosts set revoked_at = now() where id = ${two}`);
    expect(await resolver.resolve4(`${start}.metal.${zone}`)).toEqual(["192.0.2.1"]);
    await run(sql`update hosts set revoked_at = now() where id = ${one}`);
    await expect
      .poll(() => resolver.resolve4(`${start}.metal.${zone}`).catch(({ code }) => code), { timeout: 8_000 })
      .toBe(missing.code);
  });

  it("has both of two hosts whose ids begin alike", async () => {
    const { resolver } = await open();
    const start = randomBytes(4).toString("hex");
    for (const last of ["1", "2"]) await addHost(`192.0.2.${last}`, `host_${start}${last.repeat(24)}`);
    expect((await resolver.resolve4(`${start}.metal.${zone}`)).sort()).toEqual(["192.0.2.1", "192.0.2.2"]);
  });

  it.each([
    randomUUID(),
    "www",
    `a.${randomUUID()}`,
    `${randomUUID()}-`,
    "0000000.metal",
    "'; drop table hosts; --".replaceAll(/[^a-z]/g, "-"),
  ])("does not have %s", async (name) => {
    const { resolver } = await open();
    await expect(resolver.resolve4(`${name}.${zone}`)).rejects.toMatchObject(missing);
  });

  it("forgets a deleted workload within seconds, and has it elsewhere as soon after it moved", async () => {
    const { resolver } = await open();
    const [gone, moved] = [
      await addWorkload(await addHost("192.0.2.1")),
      await addWorkload(await addHost("192.0.2.1")),
    ];
    for (const id of [gone, moved]) expect(await resolver.resolve4(`${id}.${zone}`)).toEqual(["192.0.2.1"]);
    const other = await addHost("192.0.2.2");
    await run(sql`update workloads set deleted_at = now() where id = ${gone}::uuid`);
    await run(sql`
      update machines set host_id = ${other} where id = (select machine_id from workloads where id = ${moved}::uuid)`);
    await sleep(KEEP_MS + 50);
    expect(KEEP_MS).toBeLessThanOrEqual(5_000);
    await expect(resolver.resolve4(`${gone}.${zone}`)).rejects.toMatchObject(missing);
    expect(await resolver.resolve4(`${moved}.${zone}`)).toEqual(["192.0.2.2"]);
  });

  it("has a serial that grows when a workload, a host or a challenge changes, and only then", async () => {
    const { records } = await open();
    const id = await addWorkload(await addHost("192.0.2.1"));
    const changes = [
      async () => {},
      () => run(sql`update workloads set deleted_at = now() where id = ${id}::uuid`),
      () => addHost("192.0.2.99"),
      () =>
        run(sql`
          insert into dns_challenges (name, value, machine_id, host_id, ends_at)
          select ${`_acme-challenge.${id}.${zone}`}, 'x', machine_id, 'host', now() + interval '1 hour'
          from workloads where id = ${id}::uuid`),
    ];
    let before = await records.serial();
    expect(Math.abs(before - Date.now() / 1000)).toBeLessThan(60);
    for (const [index, change] of changes.entries()) {
      await change();
      await sleep(KEEP_MS + 50);
      const after = await records.serial();
      expect([index, after > before]).toEqual([index, index > 0]);
      before = after;
    }
  }, 30_000);

  it("asks the database a few times for a flood of questions, and not at all for names that cannot be there", async () => {
    let statements = 0;
    const counting = db.run.withPlugin({
      transformQuery: ({ node }) => {
        statements += 1;
        return node;
      },
      transformResult: async ({ result }) => result,
    });
    const { lookup } = openZoneRecords({ db: counting, zone, instancesZone: "instances.test" });
    const known = await addWorkload(await addHost("192.0.2.1"));
    const flood = Array.from({ length: 2_000 }, () => lookup(`${randomUUID()}.${zone}`, "A"));
    const answers = await Promise.all([...flood, lookup(`${known}.${zone}`, "A")]);
    expect(answers.slice(0, -1).every((each) => each === null)).toBe(true);
    expect(answers.at(-1)).toEqual([{ type: "A", address: "192.0.2.1" }]);
    expect(statements).toBeLessThanOrEqual(7);
    statements = 0;
    for (let n = 0; n < 500; n++) await lookup(`${known}.${zone}`, "A");
    for (let n = 0; n < 500; n++) await lookup(`w${n}.${zone}`, "A");
    expect(statements).toBe(0);
  });

  it("says so when the database is gone", async () => {
    const other = await openDatabase({ connection: { ...cloned }, poolMax: 2, onError: () => {} });
    const { lookup } = openZoneRecords({ db: other.run, zone, instancesZone: "instances.test" });
    expect(await lookup(`${randomUUID()}.${zone}`, "A")).toBeNull();
    await other.close();
    await expect(lookup(`${randomUUID()}.${zone}`, "A")).rejects.toThrow();
  });
});

describe("batches", () => {
  const limits = { keepMs: 10_000, keptMax: 3, loadMax: 2, waitingMax: 4 };

  it("load one at a time, share a key's load, and refuse what would wait too long", async () => {
    const loads: string[][] = [];
    const gate = Promise.withResolvers<void>();
    const batches = new Batches<string>(async (keys) => {
      loads.push([...keys]);
      await gate.promise;
      return new Map(keys.map((key) => [key, `value of ${key}`]));
    }, limits);
    const first = batches.find("a");
    const rest = ["b", "c", "b", "d", "e"].map((key) => batches.find(key));
    await expect(batches.find("f")).rejects.toThrow("too many");
    gate.resolve();
    expect(await first).toBe("value of a");
    expect(await Promise.all(rest)).toEqual(["b", "c", "b", "d", "e"].map((key) => `value of ${key}`));
    expect(loads).toEqual([["a"], ["b", "c"], ["d", "e"]]);
    await batches.find("e");
    expect(loads).toHaveLength(3);
    // Three are kept: the first ones went.
    await batches.find("a");
    expect(loads).toHaveLength(4);
  });

  it("keep nothing of a load that failed", async () => {
    let fails = true;
    const batches = new Batches<string>(async (keys) => {
      if (fails) throw new Error("no");
      return new Map(keys.map((key) => [key, key]));
    }, limits);
    const both = await Promise.allSettled([batches.find("a"), batches.find("b")]);
    expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    fails = false;
    expect(await batches.find("a")).toBe("a");
  });
});
