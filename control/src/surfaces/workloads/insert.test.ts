// SPDX-License-Identifier: Apache-2.0
/** Creates that come at once: one statement when all can be had, and each its own answer when not. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { makeId } from "../../core/identity/index.ts";
import { EVERY_TIME } from "../../http/idempotency.ts";
import { insertWorkload } from "./insert.ts";
import { toMachineSpec } from "./spec.ts";

const driver = new FakeKeptDriver();
let casemate: Installation;
let admin: Caller;
beforeAll(async () => {
  casemate = await startInstallation({
    kept: driver,
    config: { workloads: { requestsPerMinute: null } } as never,
  });
  admin = callerOf(casemate.url, casemate.adminKey);
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});

const account = async (credits: number): Promise<Caller> =>
  callerOf(
    casemate.url,
    (await admin("POST", "/api/v1/accounts/create", { name: "a", credits })).body.apiToken,
  );
const create = (caller: Caller, change: object = {}) =>
  caller("POST", "/api/v1/workloads/create", {
    ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80, gpus: 0 },
    ...{ dockerCompose: "services:\n  api:\n    image: caddy:2", memory: 512, cpus: 1, disk: 5 },
    ...{ envVars: { A: "1" }, files: { "a.txt": "YQ==" } },
    ...change,
  });
/** Room, money and journal as they are kept, against what they are the sums of. */
async function requireExact() {
  const { rows } = await sql<Record<string, boolean>>`
    select
      (select bool_and(cpu_used = held.cpu and memory_used = held.memory and disk_used = held.disk) from hosts h, lateral (
        select coalesce(sum((spec->>'cpuMillis')::int) filter (where holds_compute), 0) as cpu,
          coalesce(sum((spec->>'memoryMiB')::int) filter (where holds_compute), 0) as memory,
          coalesce(sum((spec->'kept'->>'diskMiB')::int) filter (where holds_disk), 0) as disk
        from machines m where m.host_id = h.id) held) as room,
      (select bool_and(b.rate_micros_per_min = coalesce((
        select sum(rate_micros_per_min) from meters m where m.account_id = b.account_id and m.state <> 'idle'), 0))
        from balances b) as rates,
      (select bool_and(a.journal_seq = coalesce((select max(seq) from journal j where j.account_id = a.id), 0)
        and a.journal_head = coalesce((select head from journal j where j.account_id = a.id order by seq desc limit 1), a.journal_head))
        from accounts a) as journal,
      (select bool_and(exists (select from workload_events e where e.workload_id = w.id and e.kind = 'created'))
        from workloads w) as events`.execute(casemate.control.db.run);
  expect(rows[0]).toEqual({ room: true, rates: true, journal: true, events: true });
}

it("of several accounts are recorded in one transaction, each as it was asked", async () => {
  const owners = await Promise.all(Array.from({ length: 6 }, () => account(1000)));
  const made = await Promise.all(owners.map((owner, n) => create(owner, { name: `w${n}` })));
  expect(made.map(({ status, body }) => [status, body.name])).toEqual(owners.map((_, n) => [201, `w${n}`]));
  for (const [n, owner] of owners.entries()) {
    const { workloadId } = made[n]!.body;
    const { body } = await owner("GET", `/api/v1/workloads/${workloadId}`);
    expect(body).toMatchObject({ name: `w${n}`, envVars: { A: "***" }, files: { "a.txt": "***" } });
    const { events } = (await owner("POST", "/api/v1/workload-events/list", { workloadId })).body;
    expect(events[0].details.kind).toBe("created");
  }
  const ids = made.map(({ body }) => body.workloadId as string);
  const { rows } = await sql<{ together: number }>`
    select count(*)::int as together from workload_events where workload_id = any(${ids}::uuid[]) and kind = 'created'
    group by xmin::text order by 1 desc limit 1`.execute(casemate.control.db.run);
  // The first may have gone ahead while the others were being judged.
  expect(rows[0]!.together).toBeGreaterThan(1);
  await requireExact();
});

it("are refused one by one: who cannot pay is 412, and the others have theirs", async () => {
  const poor = await account(0);
  const owners = await Promise.all(Array.from({ length: 4 }, () => account(1000)));
  const [refused, ...made] = await Promise.all([poor, ...owners].map((owner) => create(owner)));
  expect([refused!.status, refused!.body.kind]).toEqual([412, "NOT_ENOUGH_CREDITS"]);
  expect(made.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
  expect((await poor("GET", "/api/v1/workloads/list")).body).toEqual([]);
  await requireExact();
});

it("take the last room of a host for as many as fit, and not for one more", async () => {
  const { rows } = await sql<{ left: number }>`
    select (cpu_millis - cpu_used) / 1000 as left from hosts`.execute(casemate.control.db.run);
  const left = rows[0]!.left;
  const owners = await Promise.all(Array.from({ length: left + 3 }, () => account(1000)));
  const made = await Promise.all(owners.map((owner) => create(owner)));
  const statuses = made.map(({ status }) => status);
  expect(statuses.filter((status) => status === 201)).toHaveLength(left);
  expect(statuses.filter((status) => status === 503)).toHaveLength(3);
  await requireExact();
});

it("keep every journal a chain over what it says", async () => {
  const { rows } = await sql<{ broken: number }>`
    select count(*)::int as broken from journal j join journal p on p.account_id = j.account_id and p.seq = j.seq - 1
    where j.head <> sha256(p.head || int8send(j.seq) || j.payload_hash)`.execute(casemate.control.db.run);
  expect(rows[0]!.broken).toBe(0);
  const firsts = await sql<{ wrong: number }>`
    select count(*)::int as wrong from journal where payload is not null
      and payload_hash <> sha256(salt || convert_to(payload::text, 'UTF8'))`.execute(casemate.control.db.run);
  expect(firsts.rows[0]!.wrong).toBe(0);
});

it("are told to nobody before they are on disk", async () => {
  const { db } = casemate.control;
  const { rows } = await sql<{ id: string; account: string }>`
    select h.id, (select account_id from balances where balance_micros > 0 limit 1) as account from hosts h`.execute(
    db.run,
  );
  const { id: host, account } = rows[0]!;
  await sql`update hosts set cpu_millis = cpu_millis + 1000, memory_mib = memory_mib + 1`.execute(db.run);
  const disk = Promise.withResolvers<void>();
  const tier = { cpus: 1, gpus: 0, memory_mb: 1, disk_gb: 1, tier_id: "", name: "", cost_micros_per_min: 1 };
  const id = randomUUID();
  let told = false;
  const inserting = insertWorkload(
    { db: { ...db, settled: () => disk.promise }, fleet: { able: () => [host] } as never },
    {
      ...{ id, account, tier, machineId: makeId("mach"), name: "w", artifactsVersion: "0.1.0" },
      given: {
        dockerCompose: "",
        envVars: {},
        files: {},
        dockerCredentials: [],
        publicService: "a",
        publicPort: 1,
      },
      spec: toMachineSpec({ workload: id, account, domains: [] }, tier, "container"),
      launch: null,
      ...{ domain: `${id}.x`, custom: null, sealed: { payload: Buffer.of(1), compose: Buffer.of(1) } },
      ...{ resolved: [], by: "key", diskGbMax: null, once: EVERY_TIME },
    },
  ).then(() => {
    told = true;
  });
  const isThere = async () =>
    (await sql`select from workloads where id = ${id}::uuid`.execute(db.run)).rows.length === 1;
  while (!(await isThere())) await sleep(10);
  await sleep(50);
  expect(told).toBe(false);
  disk.resolve();
  await inserting;
});
