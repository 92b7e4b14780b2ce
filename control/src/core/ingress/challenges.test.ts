// SPDX-License-Identifier: Apache-2.0
/** Proofs that hosts have published: who may, who answers them, and how long. */
import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type RawBuilder, sql } from "kysely";
import { expect, it, test } from "vitest";
import type { ChallengeWish } from "#contract/link/challenge.ts";
import { bind, startBind } from "#testing/bind.ts";
import { ownDatabase } from "#testing/own-database.ts";
import { describeWith } from "#testing/requirements.ts";
import { openAccount } from "../identity/index.ts";
import { openChallenges } from "./challenges.ts";
import { openZoneRecords } from "./records.ts";
import { openZoneUpdater, type ZoneUpdater } from "./rfc2136.ts";
import { later, resolverOf, serve, ZONE } from "./testing.ts";
import { keepZone } from "./zone-keeper.ts";

const zone = ZONE.origin;
const ADDRESS = "192.0.2.7";
const { db } = await ownDatabase(10);

const run = (statement: RawBuilder<unknown>) => statement.execute(db.run);
const newHost = () => `host_${randomBytes(16).toString("hex")}`;
const value = () => randomBytes(32).toString("base64url");

interface Made {
  id: string;
  machineId: string;
  domain: string;
  host: string;
}

async function workload(host = newHost()): Promise<Made> {
  const id = randomUUID();
  const machineId = `mach_${randomBytes(16).toString("hex")}`;
  const domain = `${id}.${zone}`;
  const facts = { ingress: { host: ADDRESS, httpPort: 80, httpsPort: 443, caPem: "" } };
  await run(
    sql`insert into hosts (id, facts) values (${host}, ${JSON.stringify(facts)}::jsonb) on conflict do nothing`,
  );
  const email = `a${randomBytes(5).toString("hex")}@example.com`;
  const { accountId } = await openAccount(db.run, { email, jurisdiction: "US" });
  const spec = JSON.stringify({ kept: { domains: [domain] } });
  await run(sql`
    insert into machines (id, account_id, host_id, spec, surface, created_at)
    values (${machineId}, ${accountId}, ${host}, ${spec}::jsonb, 'workloads', now())`);
  await run(sql`
    insert into workloads (id, account_id, machine_id, name, artifacts_version, public_service, public_port,
      cpus, gpus, memory_mb, disk_gb, domain, compose_sealed, payload_sealed, cost_micros_per_min)
    values (${id}::uuid, ${accountId}, ${machineId}, 'w', '0.1.0', 'api', 80, 1, 0, 512, 5, ${domain}, '', '', 1)`);
  return { id, machineId, domain, host };
}

const wish = ({ machineId, domain }: Made, change: Partial<ChallengeWish> = {}): ChallengeWish => ({
  ...{ machineId, domain, value: value(), want: "published" },
  ...change,
});
const open = (updater: ZoneUpdater | null = null) => openChallenges({ db: db.run, zone, updater });
/** A replica's name server, with nothing of another's. */
async function replica() {
  const { port } = await serve(openZoneRecords({ db: db.run, zone, instancesZone: "instances.test" }));
  return resolverOf(port);
}
const textsAt = async (resolver: Awaited<ReturnType<typeof replica>>, { domain }: Made) =>
  (await resolver.resolveTxt(`_acme-challenge.${domain}`).catch(() => [])).flat().sort();

it("is answered by every replica, whichever of them the host told, until it is withdrawn", async () => {
  const [one, two] = [await replica(), await replica()];
  const made = await workload();
  const [first, second] = [wish(made), wish(made)];
  await open().take(made.host, first);
  await open().take(made.host, second);
  const both = [first.value, second.value].sort();
  for (const each of [one, two]) expect(await textsAt(each, made)).toEqual(both);
  await open().take(made.host, { ...first, want: "withdrawn" });
  await sleep(1_100);
  for (const each of [one, two]) expect(await textsAt(each, made)).toEqual([second.value]);
});

it("asked for too early is not missing for longer than a moment", async () => {
  const resolver = await replica();
  const made = await workload();
  expect(await textsAt(resolver, made)).toEqual([]);
  const asked = wish(made);
  await open().take(made.host, asked);
  await expect.poll(() => textsAt(resolver, made), { timeout: 1_500 }).toEqual([asked.value]);
});

test.each([
  ["a machine of another host", (_mine: Made, other: Made) => wish(other), "names.not-held"],
  [
    "another host's name, as if its own machine had it",
    (mine: Made, other: Made) => wish(mine, { domain: other.domain }),
    "names.not-held",
  ],
  [
    "a name that nobody has",
    (mine: Made) => wish(mine, { domain: `${randomUUID()}.${zone}` }),
    "names.not-held",
  ],
  ["a name below its own", (mine: Made) => wish(mine, { domain: `x.${mine.domain}` }), "names.not-held"],
  ["the zone itself", (mine: Made) => wish(mine, { domain: zone }), "names.outside-zone"],
  ["a name elsewhere", (mine: Made) => wish(mine, { domain: "bank.example" }), "names.outside-zone"],
  [
    "a name that only ends like the zone",
    (mine: Made) => wish(mine, { domain: `evil${zone}` }),
    "names.outside-zone",
  ],
] as [string, (mine: Made, other: Made) => ChallengeWish, string][])(
  "a host cannot publish a proof for %s",
  async (_what, ask, code) => {
    const [mine, other] = [await workload(), await workload()];
    const asked = ask(mine, other);
    await expect(open().take(mine.host, asked)).rejects.toMatchObject({ code });
    const resolver = await replica();
    for (const each of [mine, other]) expect(await textsAt(resolver, each)).toEqual([]);
  },
);

it("is refused for a machine that is to go, and answered no longer when it is", async () => {
  const resolver = await replica();
  const made = await workload();
  await open().take(made.host, wish(made));
  expect(await textsAt(resolver, made)).toHaveLength(1);
  await run(sql`update machines set want = 'down' where id = ${made.machineId}`);
  await sleep(1_100);
  expect(await textsAt(resolver, made)).toEqual([]);
  await expect(open().take(made.host, wish(made))).rejects.toMatchObject({ code: "names.not-held" });
});

it("is answered no longer when its machine is another host's", async () => {
  const resolver = await replica();
  const [made, other] = [await workload(), await workload()];
  await open().take(made.host, wish(made));
  await run(sql`update machines set host_id = ${other.host} where id = ${made.machineId}`);
  expect(await textsAt(resolver, made)).toEqual([]);
});

it("cannot be withdrawn by another host", async () => {
  const [made, other] = [await workload(), await workload()];
  const asked = wish(made);
  await open().take(made.host, asked);
  await open().take(other.host, { ...asked, want: "withdrawn" });
  expect(await textsAt(await replica(), made)).toEqual([asked.value]);
});

it("ends by the database's clock, and its row is swept", async () => {
  const resolver = await replica();
  const made = await workload();
  const asked = wish(made);
  await open().take(made.host, asked);
  const left = await sql<{ s: number }>`
    select extract(epoch from ends_at - now())::int as s from dns_challenges where value = ${asked.value}`.execute(
    db.run,
  );
  expect(left.rows[0]!.s).toBeGreaterThan(3_500);
  expect(left.rows[0]!.s).toBeLessThanOrEqual(3_600);
  await run(sql`update dns_challenges set ends_at = now() where value = ${asked.value}`);
  expect(await textsAt(resolver, made)).toEqual([]);
  await open().sweep();
  const { rows } = await sql`select 1 from dns_challenges where value = ${asked.value}`.execute(db.run);
  expect(rows).toEqual([]);
});

it("is bounded in number for a host, and another host has its own number", async () => {
  const [greedy, modest] = [await workload(), await workload()];
  const taken: string[] = [];
  for (let n = 0; n < 101; n++)
    taken.push(
      await open()
        .take(greedy.host, wish(greedy))
        .then(
          () => "taken",
          ({ code }) => code,
        ),
    );
  expect(taken.slice(0, 100).every((each) => each === "taken")).toBe(true);
  expect(taken[100]).toBe("names.too-many");
  await open().take(modest.host, wish(modest));
});

describeWith([bind], "where the zone is another server's", () => {
  const key = { name: "casemate.key", secret: randomBytes(32) };
  async function elsewhere(changes: Partial<Parameters<typeof openZoneUpdater>[0]> = {}) {
    const server = await startBind(zone, [key]);
    later(() => server.stop());
    const updater = openZoneUpdater({
      ...{ server: { host: "127.0.0.1", port: server.port }, zone, key, ttlSeconds: 5 },
      ...{ timeoutMs: 2_000, triesMax: 2, pauseMs: 10 },
      ...changes,
    });
    const logged: Record<string, unknown>[] = [];
    const keep = () => keepZone({ db: db.run, zone, updater, log: (_event, facts) => logged.push(facts) });
    return { server, updater, resolver: resolverOf(server.port), keep, logged };
  }
  const addressOf = (resolver: ReturnType<typeof resolverOf>, name: string) =>
    resolver.resolve4(name).catch(({ code }) => code as string);
  const clear = () => run(sql`delete from zone_records`);

  it("a proof is there when it is said to be, and gone when it was withdrawn or has ended", async () => {
    const { updater, resolver } = await elsewhere();
    const made = await workload();
    const [first, second] = [wish(made), wish(made)];
    const challenges = open(updater);
    await challenges.take(made.host, first);
    await challenges.take(made.host, second);
    expect(await textsAt(resolver, made)).toEqual([first.value, second.value].sort());
    await challenges.take(made.host, { ...first, want: "withdrawn" });
    expect(await textsAt(resolver, made)).toEqual([second.value]);
    await run(sql`update dns_challenges set ends_at = now() where value = ${second.value}`);
    await challenges.sweep();
    expect(await textsAt(resolver, made)).toEqual([]);
  });

  it("a proof that the server did not take is no proof, and what it may have taken is not forgotten", async () => {
    const { server, updater } = await elsewhere();
    const made = await workload();
    await server.stop();
    const asked = wish(made);
    await expect(open(updater).take(made.host, asked)).rejects.toMatchObject({ code: "names.update-failed" });
    await run(sql`update dns_challenges set ends_at = now() where value = ${asked.value}`);
    await expect(open(updater).sweep()).rejects.toMatchObject({ code: "names.update-failed" });
    const { rows } = await sql`select 1 from dns_challenges where value = ${asked.value}`.execute(db.run);
    expect(rows).toHaveLength(1);
    await open().sweep();
  });

  it("workloads and hosts come, move and go, a hundred at once", async () => {
    await clear();
    const { resolver, keep } = await elsewhere();
    const host = newHost();
    const made = await Promise.all(Array.from({ length: 70 }, () => workload(host)));
    await keep();
    for (const each of made) expect(await addressOf(resolver, each.domain)).toEqual([ADDRESS]);
    expect(await addressOf(resolver, `${host.slice(5, 13)}.metal.${zone}`)).toEqual([ADDRESS]);
    const facts = JSON.stringify({ ingress: { host: "h1.hosting.example" } });
    await run(sql`update hosts set facts = ${facts}::jsonb where id = ${host}`);
    await run(sql`update workloads set deleted_at = now() where id = ${made[0]!.id}::uuid`);
    await keep();
    expect(await resolver.resolveCname(made[1]!.domain)).toEqual(["h1.hosting.example"]);
    expect(await addressOf(resolver, made[0]!.domain)).toBe("ENOTFOUND");
    const { rows } = await sql<{ all: boolean; gone: number }>`
      select bool_and(settled) as all, count(*) filter (where name = ${made[0]!.domain})::int as gone
      from zone_records`.execute(db.run);
    expect(rows[0]).toEqual({ all: true, gone: 0 });
  });

  it("is made right after the server was away, and after somebody died between writing and noting", async () => {
    await clear();
    const { server, keep, logged } = await elsewhere();
    const made = await workload();
    await server.stop();
    await keep();
    expect(logged.length).toBe(1);
    const again = await elsewhere();
    await again.keep();
    expect(await addressOf(again.resolver, made.domain)).toEqual([ADDRESS]);
    // The name was written, and its row says that it may have been; then the workload went.
    await run(sql`update zone_records set settled = false where name = ${made.domain}`);
    await run(sql`update workloads set deleted_at = now() where id = ${made.id}::uuid`);
    await again.keep();
    expect(await addressOf(again.resolver, made.domain)).toBe("ENOTFOUND");
  });

  it("a name that the server refuses holds up no other", async () => {
    await clear();
    const { resolver, keep, logged } = await elsewhere();
    const made = await workload();
    // Of a time when the zone was another one; it stands in one batch with names that are right.
    await run(sql`insert into zone_records (name, target) values ('00000000.other.test', 'x.example')`);
    await keep();
    const { rows } = await sql<{ name: string }>`select name from zone_records where not settled`.execute(
      db.run,
    );
    expect(rows).toEqual([{ name: "00000000.other.test" }]);
    expect(await addressOf(resolver, made.domain)).toEqual([ADDRESS]);
    expect(logged).toHaveLength(1);
    expect(logged[0]).toMatchObject({ first: "00000000.other.test" });
    await keep();
    expect(logged).toHaveLength(1);
  });

  it("two replicas at once write each name once", async () => {
    await clear();
    const { updater, resolver } = await elsewhere();
    const made = await Promise.all(Array.from({ length: 20 }, () => workload()));
    const names: string[] = [];
    const counting: ZoneUpdater = {
      update: async (changes) => {
        names.push(...new Set(changes.map(({ name }) => name)));
        // Long enough for every other to look for what is left.
        await sleep(200);
        return updater.update(changes);
      },
    };
    const keep = () => keepZone({ db: db.run, zone, updater: counting, log: () => {} });
    await Promise.all(Array.from({ length: 6 }, () => keep()));
    for (const each of made) expect(await addressOf(resolver, each.domain)).toEqual([ADDRESS]);
    expect(new Set(names).size).toBe(names.length);
    // One that another is just claiming is neither waited for nor written.
    const contested = made[0]!.domain;
    await run(sql`update zone_records set settled = false where name = ${contested}`);
    names.length = 0;
    await db.write(async (tx) => {
      await sql`update zone_records set claimed_until = now() + interval '5 minutes' where name = ${contested}`.execute(
        tx,
      );
      await keep();
    });
    expect(names).not.toContain(contested);
  });
});
