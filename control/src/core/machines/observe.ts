// SPDX-License-Identifier: Apache-2.0
/**
 * What a host reports, made true in the database: one statement a machine. It was a transaction of
 * thirteen; each statement wakes a process of the database and then us again, and an end took 8 ms of
 * which the database worked one.
 *
 *  A. Only the transition table changes `state`; a report about an older generation or a machine that
 *     is over changes nothing and is still acknowledged, or the host would repeat it for ever. Of a
 *     kept machine a report about an older start than the one last heard of changes nothing either.
 *  B. A report counts only from the host that the machine was given to: a host that was broken into
 *     can lie about its own machines and about no others.
 *     What is on no host of its own any more is heard of in leavings.ts.
 *  C. What the change means to a surface happens in the same statement (`Reactions`), and so does what
 *     it means to the host's room.
 */
import { type RawBuilder, sql } from "kysely";
import type { Observation } from "#contract/link/machine.ts";
import type { Database } from "../../database/open.ts";
import { releaseClause } from "../fleet/index.ts";
import { leftClause } from "./leavings.ts";
import { changeBy, type MachineState } from "./transitions.ts";

export type Ended = NonNullable<Observation["ended"]>;

/**
 * A surface's part of a change: clauses of the statement, among them `entry`, the journal's, and
 * `subject`, what the machine was for. They find the changed machine in the clause `machine` (id,
 * account_id, started_at), which is empty when the report changed nothing, and must do nothing then.
 * Counters are to be locked before the account.
 */
export interface Reactions {
  ended(ended: Ended): Promise<RawBuilder<unknown>>;
  /** The machine is over and no proof will come. It had been running when `started_at` is set. */
  failed(): RawBuilder<unknown>;
}

/** The same of a surface whose machines are kept: one for every observation. */
export type KeptReactions = (observation: Observation) => RawBuilder<unknown>;

export interface Observed {
  machineId: string;
  state: MachineState;
  /** What this report ended, as the surface's clause `subject` returned it; null when nothing changed. */
  over?: { subject: unknown; ended: Ended | null };
}

export interface AllReactions {
  proven: Reactions;
  /** Of the surfaces that have kept machines. */
  kept: Readonly<Record<string, KeptReactions>>;
}

export async function observe(
  db: Database,
  reactions: AllReactions,
  hostId: string,
  observation: Observation,
): Promise<Observed | null> {
  const { machineId, ended, incarnation } = observation;
  const kept = incarnation !== undefined;
  if (observation.state === "ended" && !kept && ended === undefined) return null;
  const { to } = changeBy(observation.state);
  const machine = kept ? keptClause(hostId, observation) : provenClause(hostId, observation);
  const reaction = kept
    ? (await keptReactionsOf(db, reactions, machineId))(observation)
    : to === "ended"
      ? await reactions.proven.ended(ended!)
      : to === "failed"
        ? reactions.proven.failed()
        : null;
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

/** A machine that nobody knows has none of its surface: whose words are made does not matter then, the statement finds nothing. */
async function keptReactionsOf(
  db: Database,
  { kept }: AllReactions,
  machineId: string,
): Promise<KeptReactions> {
  const { rows } = await sql<{ surface: string }>`
    select surface from machines where id = ${machineId}`.execute(db.quick);
  return kept[rows[0]?.surface ?? ""] ?? Object.values(kept)[0]!;
}

function provenClause(hostId: string, observation: Observation): RawBuilder<unknown> {
  const { from, to } = changeBy(observation.state);
  const { machineId, generation } = observation;
  return sql`
    machine as (
      update machines set state = ${to},
        observed_generation = greatest(observed_generation, ${generation}::int), ${changesOf(to, observation)}
      where id = ${machineId} and host_id = ${hostId} and generation >= ${generation} and state = any(${from})
        and not spec ? 'kept'
      returning id, account_id, started_at
    )`;
}

/**
 * A start that failed is no longer wished for: whoever wants it again says so, and pays for the room
 * again. A machine that is seen running anew under a higher incarnation has changed too, and so has one that stood, was started and
 * stopped again before its host said a word of that start: it holds the room of that start.
 */
function keptClause(hostId: string, observation: Observation): RawBuilder<unknown> {
  const { from, to } = changeBy(observation.state);
  const { machineId, generation, incarnation, code } = observation;
  const gaveUp = sql`(${code !== undefined} and m.incarnation = ${incarnation}::int and m.want = 'up')`;
  const releases = to === "halted" || to === "ended" || to === "failed";
  const over = to === "ended" || to === "failed";
  return sql`
    machine as (
      update machines m set state = ${to},
        observed_generation = greatest(m.observed_generation, ${generation}::int),
        observed_incarnation = ${incarnation}::int,
        want = case when ${gaveUp} then 'halted' else m.want end,
        generation = m.generation + case when ${gaveUp} then 1 else 0 end,
        holds_compute = m.holds_compute and not (${releases} and m.incarnation = ${incarnation}::int),
        holds_disk = m.holds_disk and not ${over},
        fault = ${code === undefined ? null : faultOf(observation)}::jsonb,
        started_at = case when ${to === "running"} then now() else m.started_at end,
        ended_at = case when ${over} then now() end
      from (
        select id, state, holds_compute, holds_disk from machines
        where id = ${machineId} and host_id = ${hostId} for update
      ) before
      where m.id = before.id and m.generation >= ${generation} and m.incarnation >= ${incarnation}
        and m.observed_incarnation <= ${incarnation} and m.spec ? 'kept'
        and (m.state = any(${from})
          or (${to === "running" || to === "halted"} and m.state = ${to} and m.observed_incarnation < ${incarnation}))
      returning m.id, m.account_id, m.started_at, m.host_id, m.spec, m.state, m.holds_compute,
        before.holds_compute and not m.holds_compute as freed_compute,
        before.holds_disk and not m.holds_disk as freed_disk
    ), ${to === "ended" ? leftClause(hostId, observation) : sql`gone as (select)`}, ${releaseClause()}`;
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
  { machineId, generation, state }: Observation,
): Promise<Observed | null> {
  // A host that is only about to do what is wished has not answered the wish.
  const answered = state !== "starting";
  const { rows } = await sql<{ state: MachineState }>`
    with noted as (
      update machines set observed_generation = ${generation}
      where ${answered} and id = ${machineId} and host_id = ${hostId} and generation >= ${generation}
        and observed_generation < ${generation}
    )
    select state from machines
    where id = ${machineId} and host_id = ${hostId} and generation >= ${generation}`.execute(db.run);
  return rows.length > 0 ? { machineId, state: rows[0]!.state } : null;
}

const faultOf = ({ code, detail }: Observation): string =>
  JSON.stringify({ code: code ?? "machine.start-failed", ...(detail === undefined ? {} : { detail }) });
