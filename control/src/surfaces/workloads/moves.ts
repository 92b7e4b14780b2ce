// SPDX-License-Identifier: Apache-2.0
/**
 * Workloads whose host was put out, or is to be emptied: taken off it one by one, then placed wherever
 * there is room, which may be now or when a host joins. Two steps, so that a crash in between, or no
 * room anywhere, leaves a workload that waits and says so, and never one that is lost or stays twice there.
 * A disk that can be fetched stays on the old host until it is whole on the new one (disk-carrier.ts).
 */
import { sql } from "kysely";
import type { MachineSpec, Observation } from "#contract/link/machine.ts";
import {
  AFTER_ROOM,
  knownUntil,
  listToEmpty,
  roomElsewhere,
  takeRoomClauses,
} from "../../core/fleet/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { AFTER_METER, NOW, stopMeterClauses } from "../../core/ledger/index.ts";
import {
  displaceClauses,
  forgetDiskClauses,
  keepsDisk,
  type MachineRow,
  placeClause,
  toLeave,
  waitingClause,
} from "../../core/machines/index.ts";
import type { Database } from "../../database/open.ts";
import type { Deps } from "./deps.ts";
import { eventClauses } from "./events.ts";

const BATCH = 100;
const LOST = "its host is gone; it starts anew on another, and its volumes start empty";
const KEPT = "it moves to another host; it starts there when its disk has come";

type Needs = Pick<Deps, "db" | "fleet" | "converger"> & {
  /** Records what a host would have said, had it been able to. */
  observed(hostId: string, observation: Observation): Promise<void>;
};

/** One turn, on any replica: what is to leave its host leaves it, and what waits for a place is placed. */
export async function movesTurn(deps: Needs): Promise<void> {
  for (const { id, gone } of await listToEmpty(deps.db.soft, deps.fleet.held())) {
    await displaceAll(deps, id);
    if (gone) await concludeRest(deps, id);
  }
  await giveUpDisks(deps);
  await endUnplaced(deps);
  await placeWaiting(deps);
}

/** Workloads that somebody still wants. */
async function displaceAll({ db, fleet }: Needs, host: string): Promise<void> {
  const { rows } = await sql<{ id: string; keeps: boolean }>`
    select id, ${keepsDisk(host)} as keeps from machines where host_id = ${host} and surface = 'workloads' and want <> 'down'
      and state not in ('ended', 'failed') limit ${BATCH}`.execute(db.run);
  for (const { id, keeps } of rows) {
    // As it is told: when that has changed meanwhile, the next turn tells it as it is by then.
    const when = sql`${keepsDisk(host)} = ${keeps}`;
    // What stood is as it was: nobody is told of a stop that was not one.
    const { rows: done } = await sql<{ machine: MachineRow | null }>`
      with ${displaceClauses(sql`${id}`, host, { when })},
      ${eventClauses("vmRestarted", { message: keeps ? KEPT : LOST }, sql`machine.want = 'up'`)},
      ${stopMeterClauses({
        when: AFTER_ROOM,
        released: sql`machine.want <> 'up'`,
        until: knownUntil("machine", NOW),
      })},
      ${appendClauses(
        {
          account: sql`(select account_id from subject)`,
          type: sql`'workload.starting'`,
          subject: sql`(select id::text from subject)`,
          payload: {},
        },
        AFTER_METER,
      )}
      select (select to_jsonb(machine) from machine) as machine, (select count(*) from entry)`.execute(
      db.run,
    );
    const machine = done[0]!.machine;
    // A host that is only to be emptied is told; one that was put out is told nothing.
    if (machine !== null && fleet.holds(host)) fleet.send(host, [toLeave(machine, host)]);
  }
}

/**
 * A first start that failed on one host is tried on a second before it counts as failed: the fault may be
 * the host's. Only of what never ran, so nothing is left behind; once, so that a workload whose own fault
 * it is does not go round. True: it was taken off the host, and what the host said means no more.
 */
export async function triedElsewhere(
  { db, fleet }: Pick<Needs, "db" | "fleet">,
  host: string,
  { machineId, incarnation, state, code, detail }: Observation,
): Promise<boolean> {
  if (state !== "halted" || code === undefined || incarnation === undefined || code === "machine.exited")
    return false;
  const { rows } = await sql<{ spec: MachineSpec }>`
    select spec from machines where id = ${machineId} and host_id = ${host} and surface = 'workloads' and want = 'up' and started_at is null
      and incarnation = ${incarnation}::int and failed_hosts = '{}'`.execute(db.soft);
  const spec = rows[0]?.spec;
  if (spec === undefined) return false;
  const when = sql`want = 'up' and started_at is null and incarnation = ${incarnation}::int and failed_hosts = '{}'
    and ${roomElsewhere(spec, [host])}`;
  const message = `could not be started on one host, another is tried: ${detail ?? code}`;
  const { rows: done } = await sql<{ machine: MachineRow | null }>`
    with ${displaceClauses(sql`${machineId}`, host, { when, failed: true })},
    ${eventClauses("warning", { message })},
    ${stopMeterClauses({ when: AFTER_ROOM, released: sql`false`, until: knownUntil("machine", NOW) })},
    metered as (select count(*) from meter_balance)
    select (select to_jsonb(machine) from machine) as machine, (select count(*) from metered)`.execute(
    db.run,
  );
  const machine = done[0]!.machine;
  if (machine === null) return false;
  fleet.send(host, [toLeave(machine, host)]);
  return true;
}

/** Another host than these is only away for a moment. */
async function elsewhere(db: Database, spec: MachineSpec, failed: readonly string[]): Promise<boolean> {
  const { rows } = await sql<{ elsewhere: boolean }>`
    select ${roomElsewhere(spec, failed)} as elsewhere`.execute(db.soft);
  return rows[0]!.elsewhere;
}

/** On a host that was put out nothing else will be heard of: what was to end has ended, sessions have failed, instances are lost. */
async function concludeRest({ db, observed }: Needs, host: string): Promise<void> {
  const { rows } = await sql<{ id: string; generation: number; incarnation: number; kept: boolean }>`
    select id, generation, incarnation, spec ? 'kept' as kept from machines
    where host_id = ${host} and state not in ('ended', 'failed') and (want = 'down' or surface <> 'workloads')
    limit ${BATCH}`.execute(db.run);
  for (const { id: machineId, generation, incarnation, kept } of rows)
    await observed(
      host,
      kept
        ? { machineId, generation, incarnation, state: "ended" }
        : { machineId, generation, state: "failed", code: "host.put-out" },
    );
}

/** Disks that are still where they were, and that nobody will fetch: their host was put out, or their workload deleted. */
async function giveUpDisks({ db, converger }: Needs): Promise<void> {
  const gone = sql`exists (select from hosts h where h.id = disk_host_id and h.revoked_at is not null)`;
  const { rows } = await sql<{ id: string; lost: boolean }>`
    select id, ${gone} as lost from machines
    where disk_host_id is not null and (want = 'down' or state in ('ended', 'failed') or ${gone}) limit ${BATCH}`.execute(
    db.soft,
  );
  for (const { id, lost } of rows) {
    const when = lost ? gone : sql`(want = 'down' or state in ('ended', 'failed'))`;
    const message = "the host that had its disk is gone; it starts with an empty one";
    const { rows: done } = await sql<{ machine: MachineRow | null }>`
      with ${forgetDiskClauses(sql`id = ${id} and ${when}`)},
      ${eventClauses("warning", { message }, sql`${lost} and machine.want <> 'down' and ${AFTER_ROOM}`)}
      select (select to_jsonb(machine) from machine) as machine`.execute(db.run);
    const machine = done[0]!.machine;
    if (machine !== null) converger.send({ ...machine, expires_at: null }, new Date());
  }
}

/** Deleted while it waited: there is nothing of it anywhere. */
async function endUnplaced({ db }: Needs): Promise<void> {
  await sql`
    update machines set state = 'ended', ended_at = now(), observed_generation = generation
    where host_id is null and state = 'requested' and spec ? 'kept' and want = 'down'`.execute(db.run);
}

async function placeWaiting({ db, fleet, converger }: Needs): Promise<void> {
  const { rows } = await sql<{
    id: string;
    spec: MachineSpec;
    want: "up" | "halted";
    failed_hosts: string[];
    disk_host_id: string | null;
  }>`
    select id, spec, want, failed_hosts, disk_host_id from machines
    where host_id is null and state = 'requested' and surface = 'workloads' and want in ('up', 'halted')
    order by random() limit ${BATCH}`.execute(db.soft);
  for (const { id, spec, want, failed_hosts, disk_host_id } of rows) {
    const able = fleet.able(spec.isolation);
    const others = able.filter((host) => !failed_hosts.includes(host));
    if (able.length === 0 || (others.length === 0 && (await elsewhere(db, spec, failed_hosts)))) continue;
    // No other is left. A second failure at the first host is one that is told.
    const hosts = others.length > 0 ? others : able;
    // What stands needs its disk only; the rest it takes when it is started.
    const size = want === "up" ? spec : { ...spec, cpuMillis: 0, memoryMiB: 0 };
    const { rows: placed } = await sql<{ machine: MachineRow | null }>`
      with ${waitingClause(id, want, disk_host_id)},
      ${takeRoomClauses(size, hosts, sql`exists (select from waiting)`, disk_host_id)},
      ${placeClause(want)}
      select (select to_jsonb(machine) from machine) as machine`.execute(db.run);
    const machine = placed[0]!.machine;
    if (machine !== null) converger.send({ ...machine, expires_at: null }, new Date());
  }
}
