// SPDX-License-Identifier: Apache-2.0
/**
 * Random verbs of several tenants at once, on two replicas of control, while machines die, the host restarts and reports come late.
 * Whatever happens: no host is oversold, no hour is counted twice or for what is not there, nobody is led to what is not ready, and in
 * the end nothing is left. The seed is printed with a failure.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Observation } from "#contract/link/machine.ts";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { randomOf } from "#testing/random.ts";
import { expectRoomAndMoney } from "#testing/room-and-money.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { type AllReactions, observe } from "../../core/machines/observe.ts";
import { instanceReactions } from "./reactions.ts";

const SEED = Number(process.env.CASEMATE_CHAOS_SEED ?? Date.now() % 1_000_000);
const ROUNDS = 20;
const AT_ONCE = 4;
const PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID3LSWG/ZfeyZSVgsrIbllxjufn23yqbkvefP6JEcfmh";

const folder = mkdtempSync(join(tmpdir(), "casemate-instances-chaos-"));
const driver = new AttestedDriver("vm");
let one: Installation;
let two: Installation;

beforeAll(async () => {
  const image = await writeSpecimenImage(folder, "0.1.0", "base", "base");
  driver.images.set(image.sha256, image.metadata);
  const config = { imagesFolder: folder, instances: { requestsPerMinute: null } };
  one = await startInstallation({
    ...{ kept: driver, config },
    ssh: { addresses: "127.79.0.0/16", port: await freePort(), redirect: false },
  });
  two = await startInstallation({ withHost: false, replica: "two", database: one.connection, config });
});
afterAll(async () => {
  await two?.[Symbol.asyncDispose]();
  await one?.[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
  rmSync(folder, { recursive: true, force: true });
});

const db = () => one.control.db.run;

/** What holds at every moment. */
async function expectTruth(): Promise<void> {
  await expectRoomAndMoney(db());
  const { rows } = await sql<Record<string, number>>`
    select
      (select count(*)::int from instance_periods a join instance_periods b using (instance_id)
        where a.from_at < b.from_at and coalesce(a.to_at, 'infinity') > b.from_at) as counted_twice,
      (select count(*)::int from instance_periods p join instances i on i.id = p.instance_id
        where p.to_at is null and i.status <> 'ready') as counted_while_not_there,
      (select count(*)::int from instances where ssh is not null and (status <> 'ready' or power <> 'running')) as led_astray,
      (select count(*)::int from instances where (status = 'terminated') <> (terminated_reason is not null and terminated_at is not null)
        and status in ('provisioning', 'ready', 'terminated')) as untold_ends,
      (select count(*)::int from instances i where status not in ('terminated', 'failed') and not exists (
        select from instance_names n where n.instance_id = i.id and n.held_until = 'infinity')) as nameless,
      (select count(*)::int from instances i join machines m on m.id = i.machine_id
        where i.status = 'terminated' and m.state not in ('ended', 'failed')) as orphans`.execute(db());
  expect(rows[0]).toEqual({
    ...{
      counted_twice: 0,
      counted_while_not_there: 0,
      led_astray: 0,
      untold_ends: 0,
      nameless: 0,
      orphans: 0,
    },
  });
}

it(`counts, leads and ends truthfully whatever dies (seed ${SEED})`, async () => {
  const random = randomOf(SEED);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  // The newest replica's operator is the one that counts.
  const admin = callerOf(one.url, two.adminKey);
  const tenants: string[] = [];
  for (let n = 0; n < 3; n++)
    tenants.push((await admin("POST", "/platform/v1/tenants", { name: `chaos${n}` })).body.api_key);
  const reactions = { kept: { instances: instanceReactions } } as unknown as AllReactions;
  const began = performance.now();

  const verb = async () => {
    const me = callerOf(pick([one, two]).url, pick(tenants));
    const { instances } = (await me("GET", "/v1/instances")).body.data as {
      instances: { name: string; status: string }[];
    };
    const mine = instances.filter(({ status }) => status !== "terminated");
    const roll = random();
    if (mine.length === 0 || roll < 0.35)
      return me("POST", "/v1/instances", { public_key: PUBLIC_KEY, agent: "none" });
    const path = `/v1/instances/${pick(mine).name}`;
    if (roll < 0.5) return me("DELETE", path);
    if (roll < 0.6) return me("GET", `${path}?wait=ready&timeout=1`);
    return me("POST", `${path}/${pick(["stop", "start", "restart"])}`);
  };
  /** What a host could have said before: an older start, an older wish, or the same again. */
  const stale = async () => {
    const { rows } = await sql<{ id: string; host_id: string; generation: number; seen: number }>`
      select id, host_id, generation, observed_incarnation as seen from machines
      where surface = 'instances' and observed_incarnation > 1`.execute(db());
    if (rows.length === 0) return;
    const row = pick(rows);
    const observation: Observation = {
      ...{ machineId: row.id, generation: Math.max(1, row.generation - 1) },
      incarnation: 1 + Math.floor(random() * (row.seen - 1)),
      state: pick(["starting", "running", "halted"] as const),
      ...(random() < 0.5 && { ssh: { address: "127.79.9.9", port: 22, hostKeys: [PUBLIC_KEY] } }),
    };
    await observe(one.control.db, reactions, row.host_id, observation);
  };

  for (let round = 0; round < ROUNDS; round++) {
    const replies = await Promise.all(Array.from({ length: AT_ONCE }, verb));
    // Two verbs may meet on one instance: then one finds it in another state. No room is an answer too.
    for (const { status, text } of replies) expect([200, 202, 409, 503], text).toContain(status);
    await stale();
    if (random() < 0.3 && driver.running.size > 0)
      await driver.die(pick([...driver.running.keys()]), "killed");
    if (round % 7 === 6) await one.restartHost();
    await expectTruth();
  }

  for (const tenant of tenants) {
    const me = callerOf(one.url, tenant);
    for (const { name } of (await me("GET", "/v1/instances")).body.data.instances)
      await me("DELETE", `/v1/instances/${name}`);
  }
  const left = async () => {
    const { rows } = await sql<Record<string, number>>`
      select (select sum(cpu_used + memory_used + disk_used)::int from hosts) as used,
        (select count(*)::int from machines where state not in ('ended', 'failed')) as open,
        (select count(*)::int from instances where status <> 'terminated') as there,
        (select count(*)::int from instance_periods where to_at is null) as counted,
        (select count(*)::int from api_keys where instance_id is not null) as tokens`.execute(db());
    return { ...rows[0], running: driver.running.size, disks: driver.disks.size };
  };
  const nothing = { used: 0, open: 0, there: 0, counted: 0, tokens: 0, running: 0, disks: 0 };
  await expect.poll(left, { timeout: 60_000 }).toEqual(nothing);
  await expectTruth();
  // Of each no more than the time that it can have been there.
  const { rows } = await sql<{ seconds: number; machines: number }>`
    select coalesce(max(total), 0)::float8 as seconds, (select count(*)::int from instances) as machines from (
      select sum(extract(epoch from to_at - from_at)) as total from instance_periods group by instance_id) t`.execute(
    db(),
  );
  expect(rows[0]!.machines).toBeGreaterThan(5);
  expect(rows[0]!.seconds).toBeLessThan((performance.now() - began) / 1000);
}, 300_000);
