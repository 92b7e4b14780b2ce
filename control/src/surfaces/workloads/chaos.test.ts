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
import { randomOf } from "#testing/random.ts";
import { expectRoomAndMoney } from "#testing/room-and-money.ts";
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

it(`never oversells, miscounts or leaves anything (seed ${SEED})`, async () => {
  const random = randomOf(SEED);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const admin = callerOf(casemate.url, casemate.adminKey);
  const accounts: Caller[] = [];
  for (let n = 0; n < 3; n++) {
    const made = await admin("POST", "/api/v1/accounts/create", { name: `a${n}`, credits: 1000 });
    accounts.push(callerOf(casemate.url, made.body.apiToken));
  }
  const reactions = { kept: { workloads: workloadReactions } } as unknown as AllReactions;

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
    await expectRoomAndMoney(casemate.control.db.run);
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
  await expectRoomAndMoney(casemate.control.db.run);
});
