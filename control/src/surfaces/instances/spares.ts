// SPDX-License-Identifier: Apache-2.0
/**
 * Spares: machines that have booted and attested themselves before anybody asked, so that an instance need not wait for that. What the
 * operator wants of each agent is kept here; `create` takes one in its own statement.
 *
 *  A. A spare is nobody's: its row has no account, what it is started with is the same for everybody, and it was given no key, name or
 *     token. It becomes one tenant's once, and is ended with that instance: what somebody was in is given to nobody else.
 *  B. Its claim is sealed to the key that its evidence bound while it waited. A machine that began anew has another key, so that
 *     what was known of it is forgotten when it asks for its launch again.
 *  C. One that is old, of an image that is no more the newest, on a host that is to be empty, or that did not come up, is ended.
 */
import { randomUUID } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import type { MachineSpec } from "#contract/link/machine.ts";
import { takeRoomClauses } from "../../core/fleet/index.ts";
import { type MachineRow, type MachineWish, NEW, requestKeptClause } from "../../core/machines/index.ts";
import { refusalOf } from "../../database/open.ts";
import type { Deps } from "./deps.ts";
import { HAS_STATE_DISK, toMachineSpec } from "./launch.ts";
import { imageWith, requirePlace } from "./place.ts";

type Needs = Pick<Deps, "db" | "fleet" | "converger" | "guestImages" | "instances">;

const BATCH = 20;
/** After one that did not come up: the next would not either. */
const LATER_MS = 60_000;
const laterMs = new Map<string, number>();

/** Which image is the newest is read from files; asked by each turn it would be most of what a turn does. */
const IMAGE_MS = 10_000;
const newest = new WeakMap<object, Map<string, { image: string | null; untilMs: number }>>();

function imageOf(guestImages: Needs["guestImages"], agent: string): string | null {
  const known = newest.get(guestImages) ?? new Map();
  newest.set(guestImages, known);
  const found = known.get(agent);
  if (found !== undefined && performance.now() < found.untilMs) return found.image;
  const image = imageWith(guestImages, agent)?.sha256 ?? null;
  known.set(agent, { image, untilMs: performance.now() + IMAGE_MS });
  return image;
}

/** Equal but for the marks on it, so that either serves. */
const sameSize = (spec: MachineSpec): RawBuilder<unknown> =>
  sql`(m.spec #- '{kept,labels}') = (${JSON.stringify(spec)}::jsonb #- '{kept,labels}')`;

interface Taking {
  account: string;
  instance: string;
  agent: string;
  image: string;
  spec: MachineSpec;
  hosts: readonly string[];
}

/** Clauses `spare`, `machine` and `taken`, the machine as `requestKeptClause` gives it; none where no spare waits, or not `when`. */
export function takeSpareClauses(ask: Taking, when: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    spare as (
      select s.machine_id from instance_spares s join machines m on m.id = s.machine_id
      where s.instance_id is null and s.warm_at is not null and s.agent = ${ask.agent} and s.image_sha256 = ${ask.image}
        and m.want = 'up' and m.state = 'starting' and m.incarnation = s.warm_incarnation
        and m.host_id = any(${[...ask.hosts]}::text[]) and ${sameSize(ask.spec)} and ${when}
      order by s.warm_at limit 1 for update of s skip locked
    ),
    machine as (
      update machines m set account_id = ${ask.account} from spare
      where m.id = spare.machine_id and m.want = 'up' and m.account_id is null
      returning m.id, m.host_id, m.want, m.generation, m.incarnation
    ),
    taken as (
      update instance_spares s set instance_id = ${ask.instance} from machine where s.machine_id = machine.id
    )`;
}

/** One turn, on any replica. */
export async function sparesTurn(needs: Needs): Promise<void> {
  for (const row of await dropSpares(needs)) needs.converger.send({ ...row, expires_at: null }, new Date());
  for (const { agent, count } of needs.instances.warm) {
    if (performance.now() < (laterMs.get(agent) ?? 0)) continue;
    if (!(await lacksOne(needs, agent, count))) continue;
    const made = await makeSpare(needs, agent, count);
    if (made !== null) needs.converger.send(made, new Date());
  }
}

/** C. */
async function dropSpares({ db, guestImages, instances }: Needs): Promise<MachineRow[]> {
  const kept = instances.warm.map(({ agent, count }) => ({
    agent,
    count,
    image: imageOf(guestImages, agent),
  }));
  const { rows } = await sql<MachineRow & { agent: string; fell: boolean }>`
    with wanted as (
      select * from jsonb_to_recordset(${JSON.stringify(kept)}::jsonb) as (agent text, count int, image text)
    ),
    old as (
      select s.machine_id, m.state in ('halted', 'failed', 'ended') as fell
      from instance_spares s join machines m on m.id = s.machine_id left join hosts h on h.id = m.host_id
      where s.instance_id is null and (m.want <> 'up' or m.state in ('halted', 'failed', 'ended')
        or s.created_at < now() - make_interval(secs => ${instances.warmMaxAgeMs / 1000})
        or h.draining_at is not null or h.revoked_at is not null
        or not exists (select from wanted where wanted.agent = s.agent and s.slot < wanted.count and wanted.image = s.image_sha256))
      limit ${BATCH} for update of s skip locked
    ),
    dropped as (
      delete from instance_spares s using old where s.machine_id = old.machine_id returning s.machine_id, s.agent, old.fell
    ),
    -- Taken, and past the start that its key was of.
    over as (
      delete from instance_spares s using machines m
      where m.id = s.machine_id and s.instance_id is not null and (m.state <> 'starting' or m.want <> 'up')
    )
    update machines m set want = 'down', generation = m.generation + 1, end_trigger = 'recovery'
    from dropped where m.id = dropped.machine_id and m.want <> 'down' and m.state not in ('ended', 'failed')
    returning m.*, dropped.agent, dropped.fell`.execute(db.run);
  for (const { agent, fell } of rows) if (fell) laterMs.set(agent, performance.now() + LATER_MS);
  return rows;
}

async function lacksOne({ db }: Pick<Needs, "db">, agent: string, count: number): Promise<boolean> {
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from instance_spares where instance_id is null and agent = ${agent} and slot < ${count}::int`.execute(
    db.soft,
  );
  return rows[0]!.count < count;
}

/** The one that is missing, if one is. Null also when there is no room or no place for it now. */
async function makeSpare(needs: Needs, agent: string, count: number): Promise<MachineWish | null> {
  const { db, instances } = needs;
  let place: ReturnType<typeof requirePlace>;
  try {
    place = requirePlace(needs, agent);
  } catch {
    // What is missing is said to whoever creates one.
    return null;
  }
  const { image, isolation, hosts, memoryMiB } = place;
  const spec = toMachineSpec(null, isolation, { ...instances, memoryMiB });
  const id = `mach_${randomUUID().replaceAll("-", "")}`;
  try {
    const { rows } = await sql<Pick<MachineWish, "id" | "host_id" | "want" | "generation" | "incarnation">>`
      with slot as (
        select n from generate_series(0, ${count - 1}::int) n
        where not exists (select from instance_spares s where s.instance_id is null and s.agent = ${agent} and s.slot = n)
        order by n limit 1
      ),
      ${takeRoomClauses(spec, hosts, sql`exists (select from slot)`)},
      ${requestKeptClause({ id, account: null, surface: "instances", spec })},
      spare as (
        insert into instance_spares (machine_id, agent, image_sha256, slot)
        select machine.id, ${agent}, ${image}, slot.n from machine, slot returning machine_id
      )
      select machine.* from machine, spare`.execute(db.run);
    return rows[0] === undefined ? null : { ...rows[0], ...NEW, spec };
  } catch (error) {
    // Another replica made it at the same moment.
    if (refusalOf(error) === null && (error as { code?: string }).code !== "23505") throw error;
    return null;
  }
}

export interface Spare {
  agent: string;
  image_sha256: string;
  isolation: string;
  state_disk: boolean;
  cpus: number;
  warm: boolean;
}

/** That host's, in that start, and nobody's yet. */
export async function spareOf(
  { db }: Pick<Needs, "db">,
  hostId: string,
  { machineId, incarnation = 1 }: { machineId: string; incarnation?: number },
): Promise<Spare | undefined> {
  const { rows } = await sql<Spare>`
    select s.agent, s.image_sha256, m.spec->>'isolation' as isolation, (m.spec->>'cpuMillis')::int / 1000 as cpus,
      ${HAS_STATE_DISK} as state_disk, s.warm_at is not null as warm
    from instance_spares s join machines m on m.id = s.machine_id
    where m.id = ${machineId} and m.host_id = ${hostId} and m.want = 'up' and m.incarnation = ${incarnation}
      and s.instance_id is null`.execute(db.run);
  return rows[0];
}

/** B. From now on it can be taken. */
export async function markWarm(
  { db }: Pick<Needs, "db">,
  { machineId, incarnation = 1 }: { machineId: string; incarnation?: number },
  sealingKey: Uint8Array,
): Promise<void> {
  await sql`
    update instance_spares set warm_at = now(), warm_incarnation = ${incarnation}, sealing_key = ${Buffer.from(sealingKey)}
    where machine_id = ${machineId} and warm_at is null`.execute(db.run);
}

/** B. Also of one that is somebody's by now: it is claimed as one that never waited. */
export async function forgetWarm({ db }: Pick<Needs, "db">, machineId: string): Promise<void> {
  await sql`
    update instance_spares set warm_at = null, warm_incarnation = null, sealing_key = null
    where machine_id = ${machineId} and warm_at is not null`.execute(db.run);
}
