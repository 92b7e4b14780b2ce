// SPDX-License-Identifier: Apache-2.0
/** What instances have sent, as it is told of them; who counts it is in drivers/qemu/network. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { ed25519Pair } from "#testing/ssh-keys.ts";
import { noteEgress } from "./egress.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-egress-"));
const driver = new AttestedDriver();
const mine = ed25519Pair();
const LIMIT = 5368709120;
let casemate: Installation;
let admin: Caller;
beforeAll(async () => {
  const image = await writeSpecimenImage(folder, "0.1.0", "base", "base");
  driver.images.set(image.sha256, image.metadata);
  casemate = await startInstallation({
    kept: driver,
    ssh: { addresses: "127.72.0.0/16", port: await freePort(), redirect: false },
    config: { imagesFolder: folder, instances: { requestsPerMinute: null } },
  });
  admin = callerOf(casemate.url, casemate.adminKey);
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
  rmSync(folder, { recursive: true, force: true });
});

const db = () => casemate.control.db;
const hex = () => randomBytes(16).toString("hex");
let tenants = 0;
async function tenant(): Promise<{ caller: Caller; account: string }> {
  const { body } = await admin("POST", "/platform/v1/tenants", { name: `egress ${++tenants}` });
  return { caller: callerOf(casemate.url, body.api_key), account: body.account_id };
}

/** A row as they stand there, on a host of that name. */
async function instance(account: string, host = "none", status = "ready") {
  const [id, machine, name] = [`inst_${hex()}`, `mach_${hex()}`, hex().slice(0, 8)];
  await sql`insert into machines (id, account_id, surface, host_id, spec, created_at)
    values (${machine}, ${account}, 'instances', ${host}, '{"isolation":"vm"}', now())`.execute(db().run);
  await sql`insert into instances (id, account_id, machine_id, name, hostname, agent, public_key, inference_mode,
      egress_limit_bytes, image_sha256, status)
    values (${id}, ${account}, ${machine}, ${name}, 'x', 'none', 'x', 'default_gateway', ${LIMIT}::bigint, ${"0".repeat(64)},
      ${status})`.execute(db().run);
  return { machine, name };
}
const says = (machineId: string, sentBytes: number, cutAtMs: number | null = null, host = "none") =>
  noteEgress(db(), host, [{ machineId, sentBytes, cutAtMs }]);
const record = async (caller: Caller, name: string) =>
  (await caller("GET", `/v1/instances/${name}`)).body.data;
const usage = async (caller: Caller) => (await caller("GET", "/v1/usage")).body.data.usage;
const egressOf = (shown: Record<string, unknown>) => [
  ...[shown.egress_bytes, shown.egress_observed_at !== null],
  ...[shown.egress_blocked, shown.egress_block_applied_at !== null],
];

describe("what an instance has sent", () => {
  it("is asked of its host, shown on its record and in usage, and told when it is blocked, once", async () => {
    const { caller, account } = await tenant();
    const public_key = mine.public.split(" ", 2).join(" ");
    const { name } = (await caller("POST", "/v1/instances", { public_key, agent: "none" })).body.data;
    const ready = await caller("GET", `/v1/instances/${name}?wait=ready&timeout=20`);
    expect(ready.body.data.status).toBe("ready");
    expect(egressOf(ready.body.data)).toEqual([0, false, false, false]);
    const { rows } = await sql<{ machine_id: string; limit: number }>`
      select machine_id, (m.spec->'kept'->>'egressLimitBytes')::bigint as limit
      from instances i join machines m on m.id = i.machine_id where i.name = ${name}`.execute(db().run);
    const { machine_id: machine, limit } = rows[0]!;
    expect(limit).toBe(LIMIT);
    driver.sent.set(machine, { sentBytes: 1048576, cutAtMs: null });
    const shown = async () => egressOf(await record(caller, name));
    await expect.poll(shown, { timeout: 20_000 }).toEqual([1048576, true, false, false]);
    const before = await caller("GET", `/v1/instances/${name}`);
    driver.sent.set(machine, { sentBytes: LIMIT, cutAtMs: Date.now() });
    await expect.poll(shown, { timeout: 20_000 }).toEqual([LIMIT, true, true, true]);
    const etag = before.headers.get("etag")!;
    const after = await caller("GET", `/v1/instances/${name}`, undefined, { "if-none-match": etag });
    expect(after.status).toBe(200);
    expect(egressOf(await usage(caller))).toEqual([LIMIT, true, true, true]);
    const own = (await caller("GET", `/v1/instances/${name}/usage`)).body.data.usage;
    expect(egressOf(own)).toEqual([LIMIT, true, true, true]);
    expect(own.egress_limit_bytes).toBe(LIMIT);
    expect((await record(caller, name)).status).toBe("ready");
    await new Promise((resolve) => setTimeout(resolve, 7_000));
    const { rows: journal } = await sql<{ type: string; payload: object }>`
      select type, payload from journal where account_id = ${account} and type = 'instance.egress_blocked'`.execute(
      db().run,
    );
    expect(journal).toEqual([{ type: "instance.egress_blocked", payload: { egress_bytes: LIMIT } }]);
    expect((await caller("DELETE", `/v1/instances/${name}`)).status).toBe(202);
    await expect
      .poll(async () => egressOf(await usage(caller)), { timeout: 20_000 })
      .toEqual([0, false, false, false]);
    expect(egressOf(await record(caller, name))).toEqual([LIMIT, true, true, true]);
  }, 90_000);

  it("goes with the next start to its host, which may have lost its count", async () => {
    const { caller } = await tenant();
    const public_key = mine.public.split(" ", 2).join(" ");
    const { name } = (await caller("POST", "/v1/instances", { public_key, agent: "none" })).body.data;
    await caller("GET", `/v1/instances/${name}?wait=ready&timeout=20`);
    const { rows } = await sql<{ machine_id: string; host_id: string }>`
      select i.machine_id, m.host_id from instances i join machines m on m.id = i.machine_id where i.name = ${name}`.execute(
      db().run,
    );
    const { machine_id: machine, host_id: host } = rows[0]!;
    expect(driver.launches.get(machine)).not.toHaveProperty("sent");
    await says(machine, 77, 5, host);
    await driver.crash();
    driver.back([machine]);
    await expect
      .poll(() => driver.launches.get(machine)?.sent, { timeout: 20_000 })
      .toEqual({ sentBytes: 77, cut: true });
  }, 60_000);

  it("only grows, and a block keeps its time, in whatever order and by whatever clock it is said", async () => {
    const { caller, account } = await tenant();
    const said = fc.record({
      sentBytes: fc.integer({ min: 0, max: 2 ** 50 }),
      cutAtMs: fc.option(fc.integer({ min: 0, max: Date.now() + 1e12 })),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(said, { minLength: 1, maxLength: 6 }), async (all) => {
        const { machine, name } = await instance(account);
        let [bytes, blockedAt] = [0, null as string | null];
        for (const { sentBytes, cutAtMs } of all) {
          await says(machine, sentBytes, cutAtMs);
          const now = await record(caller, name);
          bytes = Math.max(bytes, sentBytes);
          expect(now.egress_bytes).toBe(bytes);
          blockedAt ??= cutAtMs === null ? null : now.egress_block_applied_at;
          expect(now.egress_block_applied_at).toBe(blockedAt);
          expect(now.egress_blocked).toBe(blockedAt !== null);
          if (blockedAt !== null) {
            expect(Date.parse(blockedAt)).toBeGreaterThanOrEqual(Date.parse(now.created_at));
            expect(Date.parse(blockedAt)).toBeLessThanOrEqual(Date.now() + 1000);
          }
        }
      }),
      { numRuns: 15 },
    );
  }, 60_000);

  it("is of a life: no new cycle of its tenant begins it anew, whatever the month and the database's clock", async () => {
    const { caller, account } = await tenant();
    const { machine, name } = await instance(account);
    await says(machine, 4711, 1);
    for (const back of ["0 days", "27 days", "31 days", "59 days", "366 days", "1461 days"]) {
      await sql`update instance_tenants set signed_up_at = date_trunc('seconds', now() - ${back}::interval)
        where account_id = ${account}`.execute(db().run);
      expect(egressOf(await usage(caller))).toEqual([4711, true, true, true]);
    }
    // A host that was set back, and is heard because the last word is old.
    await sql`update instance_egress set observed_at = now() - interval '2 minutes' where instance_id =
      (select id from instances where name = ${name})`.execute(db().run);
    const old = (await record(caller, name)).egress_observed_at;
    await says(machine, 7);
    const heard = await record(caller, name);
    expect(heard.egress_bytes).toBe(4711);
    expect(heard.egress_observed_at > old).toBe(true);
    // What is said by a clock that was set back is taken as no older than what was said before.
    await sql`update instance_egress set observed_at = now() + interval '1 day' where instance_id =
      (select id from instances where name = ${name})`.execute(db().run);
    const ahead = (await record(caller, name)).egress_observed_at;
    await says(machine, 5000);
    expect(await record(caller, name)).toMatchObject({ egress_bytes: 5000, egress_observed_at: ahead });
  });

  it("adds up over those that are there, and one that ended is not among them", async () => {
    const { caller, account } = await tenant();
    const [one, two, gone] = [
      await instance(account),
      await instance(account),
      await instance(account, "none", "terminated"),
    ];
    await says(one.machine, 100);
    await says(two.machine, 20, 1);
    await says(gone.machine, 7);
    const stranger = await tenant();
    await says((await instance(stranger.account)).machine, 1_000_000);
    expect(egressOf(await usage(caller))).toEqual([120, true, true, true]);
    expect(egressOf(await record(caller, one.name))).toEqual([100, true, false, false]);
  });

  it("is not believed of a host that does not have it, nor when it cannot be understood", async () => {
    const { caller, account } = await tenant();
    const { machine, name } = await instance(account, "host_a");
    await says(machine, 999, 1, "host_b");
    expect(egressOf(await record(caller, name))).toEqual([0, false, false, false]);
    const words = [{ machineId: machine, sentBytes: -1, cutAtMs: null }];
    for (const told of [null, "x", [{}], words, [{ machineId: "x", sentBytes: 1, cutAtMs: null }]])
      await expect(noteEgress(db(), "host_a", told)).rejects.toThrow(/cannot be understood/);
    expect(egressOf(await record(caller, name))).toEqual([0, false, false, false]);
  });
});
