// SPDX-License-Identifier: Apache-2.0
/**
 * What a host reports, made true in the database: one statement a machine. It was a transaction of
 * thirteen; each statement wakes a process of the database and then us again, and an end took 8 ms of
 * which the database worked one.
 *
 *  A. Only the transition table changes `state`; a report about an older generation or a machine that
 *     is over changes nothing and is still acknowledged, or the host would repeat it for ever.
 *  B. A report counts only from the host that the machine was given to: a host that was broken into
 *     can lie about its own machines and about no others.
 *  C. What the change means to a surface happens in the same statement (`Reactions`).
 */
import { type RawBuilder, sql } from "kysely";
import type { Observation } from "#contract/link/machine.ts";
import type { Database } from "../../database/open.ts";
import { changeBy, type MachineState } from "./transitions.ts";

export type Ended = NonNullable<Observation["ended"]>;

/**
 * A surface's part of a change: clauses of the statement, among them `entry`, the journal's, and
 * `subject`, what the machine was for. They find the changed machine in the clause `machine` (id, account_id, started_at), which is empty when the
 * report changed nothing, and must do nothing then. Counters are to be locked before the account.
 */
export interface Reactions {
  ended(ended: Ended): Promise<RawBuilder<unknown>>;
  /** The machine is over and no proof will come. It had been running when `started_at` is set. */
  failed(): RawBuilder<unknown>;
}

export interface Observed {
  machineId: string;
  state: MachineState;
  /** What this report ended, as the surface's clause `subject` returned it; null when nothing changed. */
  over?: { subject: unknown; ended: Ended | null };
}

export async function observe(
  db: Database,
  reactions: Reactions,
  hostId: string,
  observation: Observation,
): Promise<Observed | null> {
  const { machineId, generation, ended } = observation;
  if (observation.state === "ended" && ended === undefined) return null;
  const { from, to } = changeBy(observation.state);
  const machine = sql`
    machine as (
      update machines set state = ${to},
        observed_generation = greatest(observed_generation, ${generation}::int), ${changesOf(to, observation)}
      where id = ${machineId} and host_id = ${hostId} and generation >= ${generation} and state = any(${from})
      returning id, account_id, started_at
    )`;
  const reaction =
    to === "ended" ? await reactions.ended(ended!) : to === "failed" ? reactions.failed() : null;
  // Not waited for on disk: a crash that forgets it makes the sweep ask again, and the host say so again.
  if (reaction === null) {
    const { rows } = await sql`with ${machine} select id from machine`.execute(db.soft);
    return rows.length > 0 ? { machineId, state: to } : unchanged(db, hostId, observation);
  }
  const { rows } = await sql<{ subject: unknown }>`
    with ${machine}, ${reaction}
    select (select to_jsonb(subject) from subject) as subject from machine
    where (select count(*) from entry) >= 0`.execute(db.run);
  if (rows.length === 0) return unchanged(db, hostId, observation);
  return { machineId, state: to, over: { subject: rows[0]!.subject, ended: ended ?? null } };
}

function changesOf(to: MachineState, observation: Observation): RawBuilder<unknown> {
  if (to === "running") return sql`started_at = now()`;
  if (to === "failed") return sql`ended_at = now(), fault = ${faultOf(observation)}::jsonb`;
  return sql`ended_at = now(), end_trigger = ${observation.ended!.trigger}`;
}

/** A: nothing to change; what was answered is still noted, so that the sweep stops asking. */
async function unchanged(
  db: Database,
  hostId: string,
  { machineId, generation }: Observation,
): Promise<Observed | null> {
  const { rows } = await sql<{ state: MachineState }>`
    with noted as (
      update machines set observed_generation = ${generation}
      where id = ${machineId} and host_id = ${hostId} and generation >= ${generation}
        and observed_generation < ${generation}
    )
    select state from machines
    where id = ${machineId} and host_id = ${hostId} and generation >= ${generation}`.execute(db.run);
  return rows.length > 0 ? { machineId, state: rows[0]!.state } : null;
}

const faultOf = ({ code, detail }: Observation): string =>
  JSON.stringify({ code: code ?? "machine.start-failed", ...(detail === undefined ? {} : { detail }) });
