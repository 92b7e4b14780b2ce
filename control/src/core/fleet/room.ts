// SPDX-License-Identifier: Apache-2.0
/**
 * Room for kept machines, counted on the host's row. A take is one conditional update: when another
 * took meanwhile, the database looks again at the newest row, so a host is never oversold, from
 * however many processes. Halted machines hold their disk and give back the rest.
 */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { diskMiBOf, type HostFacts, type MachineSpec } from "#contract/link/machine.ts";
import type { Db } from "../../database/open.ts";

/** A host that was not heard of for this long gets no machine. */
const SILENT_S = 120;

type Size = Pick<MachineSpec, "cpuMillis" | "memoryMiB" | "kept">;

/** On the host that has it already, a disk takes no more. */
const diskAt = (size: Size, has: string | null): RawBuilder<unknown> =>
  sql`case when id = ${has}::text then 0 else ${diskMiBOf(size)}::int end`;

const fitsIn = (
  size: Size,
  has: string | null = null,
): RawBuilder<unknown> => sql`cpu_used + ${size.cpuMillis}::int <= cpu_millis
  and memory_used + ${size.memoryMiB}::int <= memory_mib and disk_used + ${diskAt(size, has)} <= disk_mib`;

/** The same of the clause `m`, a machine's row. */
const DISK_OF_MACHINE = sql`(m.spec->'kept'->>'diskMiB')::int + coalesce((m.spec->'kept'->>'scratchMiB')::int, 0)`;

/** A host that was heard of within this time may only have lost its connection for a moment. */
const LATELY_S = 30;

/**
 * Another host than these was here lately, can run the isolation class and has room. Asked of the rows and
 * not of who is connected: a connection that breaks for a second is not a host that is gone.
 */
export const roomElsewhere = (
  { isolation, ...size }: Size & Pick<MachineSpec, "isolation">,
  not: readonly string[],
): RawBuilder<unknown> => sql`
  exists (select from hosts where id <> all(${not}::text[]) and draining_at is null and revoked_at is null
    and last_seen > now() - make_interval(secs => ${LATELY_S}) and ${fitsIn(size)}
    and facts->'drivers' @> ${JSON.stringify([{ isolation, ready: true }])}::jsonb)`;

/**
 * Clauses `pick` and `room` (id; none: no host has room, or not `when`): the host left with the least
 * memory, and its room taken. `has`: the host that has the machine's disk, which comes first and has it counted.
 */
export function takeRoomClauses(
  size: Size,
  hosts: readonly string[],
  when: RawBuilder<unknown> = sql`true`,
  has: string | null = null,
): RawBuilder<unknown> {
  const fits = fitsIn(size, has);
  return sql`
    pick as (
      select id as picked from hosts
      where id = any(${hosts}::text[]) and draining_at is null and revoked_at is null and last_seen > now() - make_interval(secs => ${SILENT_S}) and ${fits} and ${when}
      order by (id is not distinct from ${has}::text) desc, memory_mib - memory_used, cpu_millis - cpu_used, id limit 1
    ),
    room as (
      update hosts set cpu_used = cpu_used + ${size.cpuMillis}::int,
        memory_used = memory_used + ${size.memoryMiB}::int, disk_used = disk_used + ${diskAt(size, has)}
      from pick where id = picked and ${fits}
      returning id
    )`;
}

/** Clause `room` for a machine that has its disk and wants to run again: `machine` gives host_id and spec. */
export function retakeRoomClause(machine: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    room as (
      update hosts h set cpu_used = cpu_used + (m.spec->>'cpuMillis')::int,
        memory_used = memory_used + (m.spec->>'memoryMiB')::int
      from ${machine} m
      where h.id = m.host_id and not m.holds_compute
        and h.cpu_used + (m.spec->>'cpuMillis')::int <= h.cpu_millis
        and h.memory_used + (m.spec->>'memoryMiB')::int <= h.memory_mib
      returning h.id
    )`;
}

/**
 * Hosts are locked after machines and before meters, balances and accounts; whoever did it the other
 * way round could deadlock with a create.
 */
export const AFTER_ROOM = sql`(select count(*) from freed) >= 0`;

/** Clause `freed`, after a clause `machine` that says what it gave up (freed_compute, freed_disk). */
export function releaseClause(): RawBuilder<unknown> {
  return sql`
    freed as (
      update hosts h set
        cpu_used = h.cpu_used - case when m.freed_compute then (m.spec->>'cpuMillis')::int else 0 end,
        memory_used = h.memory_used - case when m.freed_compute then (m.spec->>'memoryMiB')::int else 0 end,
        disk_used = h.disk_used - case when m.freed_disk then ${DISK_OF_MACHINE} else 0 end
      from machine m where h.id = m.host_id and (m.freed_compute or m.freed_disk)
      returning h.id
    )`;
}

/** Clause `freed`, after a clause `machine` whose disk is no more at the host `disk_was_at`. */
export const releaseDiskClause = (): RawBuilder<unknown> => sql`
  freed as (
    update hosts h set disk_used = h.disk_used - (${DISK_OF_MACHINE})
    from machine m where h.id = m.disk_was_at
    returning h.id
  )`;

/** The host as it says it is, now. Throws when it was put out. */
export async function rememberHost(db: Db, facts: HostFacts): Promise<void> {
  const { cpuMillis = 0, memoryMiB = 0, diskMiB = 0 } = facts.kept ?? {};
  const { rows } = await sql`
    insert into hosts as h (id, facts, cpu_millis, memory_mib, disk_mib)
    values (${facts.hostId}, ${JSON.stringify(facts)}::jsonb, ${cpuMillis}, ${memoryMiB}, ${diskMiB})
    on conflict (id) do update set facts = excluded.facts, cpu_millis = excluded.cpu_millis,
      memory_mib = excluded.memory_mib, disk_mib = excluded.disk_mib, last_seen = now()
    where h.revoked_at is null returning id`.execute(db);
  if (rows.length === 0) throw new Fault("host.put-out");
}

/** These are connected to this process now, and have had the time to say what became of what they run. */
export async function markSeen(db: Db, hosts: readonly string[]): Promise<void> {
  if (hosts.length > 0)
    await sql`update hosts set last_seen = now(), heard_at = now() where id = any(${hosts}::text[])`.execute(
      db,
    );
}

/** Between two words of a host this may pass, and it counts as having been there all the time. */
const CONTINUOUS_S = 60;

/**
 * Until when the machine of a row with `host_id` is known to have run: `at`, or, of a host that is away
 * or has just come back, when it was last heard. The machine may have stopped any time since, and what
 * nobody saw run is not charged. If it did run on, its host says so and all of it is charged then.
 */
export const knownUntil = (row: string, at: RawBuilder<Date>): RawBuilder<Date> => sql<Date>`
  coalesce((select case when h.heard_at > ${at} - make_interval(secs => ${CONTINUOUS_S}) then ${at} else h.heard_at end
    from hosts h where h.id = ${sql.ref(`${row}.host_id`)}), ${at})`;
