// SPDX-License-Identifier: Apache-2.0
/**
 * Random verbs from several accounts at once, a host that restarts, machines that die, and reports that
 * come late, twice and about older starts. Whatever happens: no host is oversold, what is counted is
 * what is held, charges add up, and in the end nothing is left. The seed is printed with a failure.
 */
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Observation } from "#contract/link/machine.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { type AllReactions, observe } from "../../core/machines/observe.ts";
import { workloadReactions } from "./reactions.ts";

const SEED = Number(process.env.CASEMATE_CHAOS_SEED ?? Date.now() % 1_000_000);
const ROUNDS = 25;
const AT_ONCE = 4;

let casemate: Installation;
const driver = new FakeKeptDriver();
beforeAll(async () => {
  const workloads = { meterEveryMs: 100, lowMs: 0, graceMs: 60_000 };
  casemate = await startInstallation({ kept: driver, config: { workloads } });
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});

/** mulberry32: small, and the same everywhere for a seed. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const ask = (size: object) => ({
  ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80, gpus: 0 },
  dockerCompose: "services:\n  api:\n    image: caddy:2",
  ...size,
});
const SIZES = [
  { cpus: 1, memory: 512, disk: 5 },
  { cpus: 2, memory: 4096, disk: 20 },
  { cpus: 8, memory: 16384, disk: 80 },
];

/** Each of these must hold at every moment, not only at rest. */
async function invariants(): Promise<void> {
  const { rows } = await sql<Record<string, number>>`
    select
      (select count(*)::int from hosts where cpu_used > cpu_millis or memory_used > memory_mib or disk_used > disk_mib) as oversold,
      (select count(*)::int from hosts h where
        h.cpu_used <> (select coalesce(sum((m.spec->>'cpuMillis')::int), 0) from machines m where m.host_id = h.id and m.holds_compute) or
        h.memory_used <> (select coalesce(sum((m.spec->>'memoryMiB')::int), 0) from machines m where m.host_id = h.id and m.holds_compute) or
        h.disk_used <> (select coalesce(sum((m.spec->'kept'->>'diskMiB')::int), 0) from machines m where m.host_id = h.id and m.holds_disk)) as miscounted,
      (select count(*)::int from machines where state in ('ended', 'failed') and (holds_compute or holds_disk)) as hoarders,
      (select count(*)::int from machines m join meters t on t.machine_id = m.id where t.state <> 'idle' and not m.holds_compute) as metered_without_room,
      (select count(*)::int from balances b where b.balance_micros <>
        (select coalesce(sum(e.amount_micros), 0) from money_entries e where e.account_id = b.account_id)) as unbalanced`.execute(
    casemate.control.db.run,
  );
  expect(rows[0]).toEqual({
    oversold: 0,
    miscounted: 0,
    hoarders: 0,
    metered_without_room: 0,
    unbalanced: 0,
  });
}

it(`never oversells, miscounts or leaves anything (seed ${SEED})`, async () => {
  const random = randomOf(SEED);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const admin = callerOf(casemate.url, casemate.adminKey);
  const accounts: Caller[] = [];
  for (let n = 0; n < 3; n++) {
    const made = await admin("POST", "/api/v1/accounts/create", { name: `a${n}`, credits: 1000 });
    accounts.push(callerOf(casemate.url, made.body.apiToken));
  }
  const reactions = { kept: workloadReactions } as AllReactions;

  const verb = async () => {
    const me = pick(accounts);
    const mine = (await me("GET", "/api/v1/workloads/list")).body as { workloadId: string }[];
    const roll = random();
    const target = mine.length === 0 ? undefined : pick(mine).workloadId;
    if (target === undefined || roll < 0.3) return me("POST", "/api/v1/workloads/create", ask(pick(SIZES)));
    if (roll < 0.9)
      return me(
        "POST",
        `/api/v1/workloads/${pick(["start", "stop", "restart", "delete", "stop", "start"])}`,
        {
          workloadId: target,
        },
      );
    return me("PUT", "/api/v1/workloads/update", { workloadId: target, envVars: { A: String(roll) } });
  };
  /** What a host could have said before: an older start, an older wish, or the same again. */
  const stale = async () => {
    const { rows } = await sql<{
      id: string;
      host_id: string;
      generation: number;
      observed_incarnation: number;
    }>`
      select id, host_id, generation, observed_incarnation from machines where surface = 'workloads'`.execute(
      casemate.control.db.run,
    );
    if (rows.length === 0) return;
    const row = pick(rows);
    if (row.observed_incarnation < 2) return;
    const incarnation = 1 + Math.floor(random() * (row.observed_incarnation - 1));
    const observation: Observation = {
      ...{ machineId: row.id, generation: Math.max(1, row.generation - 1), incarnation },
      state: pick(["starting", "running", "halted"] as const),
      ...(random() < 0.3 ? { code: "machine.exited", detail: "late" } : {}),
    };
    await observe(casemate.control.db, reactions, row.host_id, observation);
  };

  for (let round = 0; round < ROUNDS; round++) {
    const replies = await Promise.all(Array.from({ length: AT_ONCE }, verb));
    // Two verbs may meet on one workload; then one finds it gone. Nothing else is an answer.
    for (const { status } of replies) expect([200, 201, 404, 412, 503]).toContain(status);
    await stale();
    if (random() < 0.15 && driver.running.size > 0)
      await driver.die(pick([...driver.running.keys()]), "exited with 1");
    if (round === 12) await casemate.restartHost();
    await invariants();
  }

  for (const me of accounts)
    for (const { workloadId } of (await me("GET", "/api/v1/workloads/list")).body)
      await me("POST", "/api/v1/workloads/delete", { workloadId });
  const left = async () => {
    const { rows } = await sql<{ used: number; open: number; metered: number }>`
      select (select sum(cpu_used + memory_used + disk_used)::int from hosts) as used,
        (select count(*)::int from machines where state not in ('ended', 'failed')) as open,
        (select count(*)::int from meters where state <> 'idle') as metered`.execute(casemate.control.db.run);
    return { ...rows[0], running: driver.running.size, disks: driver.disks.size };
  };
  await expect
    .poll(left, { timeout: 20_000 })
    .toEqual({ used: 0, open: 0, metered: 0, running: 0, disks: 0 });
  await invariants();
});
