// SPDX-License-Identifier: Apache-2.0
/**
 * Hosts that a kept machine was taken off. Whoever takes it off tells the host at once, and may die first;
 * the machine would run there and on its next host, with one name and one account, until that host came
 * anew.
 *
 *  A. That a host is to be told is written in the statement that takes the machine off it. It is told at
 *     its joining and every second, and forgotten when it says that nothing is left there, when the machine
 *     is given to it again, or when it is put out.
 *  B. A host that speaks of a machine which is another's, or nobody's, is told as well, whatever was
 *     forgotten. Not of one that we have no row of: a control that lost its memory costs nobody their data.
 *  C. What is told carries the generation of the taking off, or that of now. A host that was given the
 *     machine again meanwhile knows a higher one, and does not heed it.
 *  D. A host that still has the machine's disk is told to halt it, and to leave nothing only when the disk has
 *     arrived elsewhere, is nobody's any more, or can never come.
 */
import { type RawBuilder, sql } from "kysely";
import type { Desired, Observation } from "#contract/link/machine.ts";
import type { Db } from "../../database/open.ts";
import { type MachineRow, toLeave } from "./machine.ts";

const BATCH = 1000;

/** After the clause `machine` of a taking off, which names the host that had it. */
export const leaveClause = (): RawBuilder<unknown> => sql`
  leaving as (
    insert into machine_leavings (machine_id, host_id, generation, incarnation)
    select id, host_id, generation, incarnation from machine
    where exists (select from hosts where hosts.id = machine.host_id and revoked_at is null)
    on conflict (machine_id, host_id) do update
      set generation = excluded.generation, incarnation = excluded.incarnation
  )`;

/** After the clause `machine` of one that was given to a host. */
export const stayClause = (): RawBuilder<unknown> => sql`
  staying as (
    delete from machine_leavings l using machine where l.machine_id = machine.id and l.host_id = machine.host_id
  )`;

/** Nothing is left of it at that host. */
export const leftClause = (
  hostId: string,
  { machineId, generation }: Observation,
): RawBuilder<unknown> => sql`
  gone as (
    delete from machine_leavings
    where machine_id = ${machineId} and host_id = ${hostId} and generation <= ${generation}
  )`;

/** A. */
export async function listLeaving(
  db: Db,
  hosts: readonly string[],
): Promise<{ hostId: string; desired: Desired }[]> {
  const { rows } = await sql<MachineRow & { leaving: string }>`
    select m.*, l.host_id as leaving, l.generation, l.incarnation
    from machine_leavings l join machines m on m.id = l.machine_id
    where l.host_id = any(${hosts}::text[]) limit ${BATCH}`.execute(db);
  return rows.map((row) => ({ hostId: row.leaving, desired: toLeave(row, row.leaving) }));
}

/** B. What to answer a host that spoke of it; null when it may have it, or says that nothing is left. */
export async function leftoverOf(
  db: Db,
  hostId: string,
  { machineId, state, incarnation }: Observation,
): Promise<Desired | null> {
  if (incarnation === undefined || state === "ended") return null;
  const { rows } = await sql<MachineRow>`
    select * from machines where id = ${machineId} and host_id is distinct from ${hostId} and spec ? 'kept'
      -- D: told by A, under the generation that it is to be told under in the end.
      and disk_host_id is distinct from ${hostId}`.execute(db);
  return rows[0] === undefined ? null : toLeave(rows[0], hostId);
}
