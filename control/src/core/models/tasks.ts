// SPDX-License-Identifier: Apache-2.0
/**
 * Work on models as rows, one for each look at a version and each target, and how far it is:
 *
 *     queued ──take──▶ processing ──▶ ok, error
 *        ▲ └──────cancel──────┴─────▶ cancelled
 *        └──── given back: its process died, its lease ended, or what it needs was away
 *
 *  A. Each taking has a number (`attempt`). What an earlier one says changes nothing.
 *  B. A change of state and what follows from it (the artefact, the model's own status, the next work, the
 *     journal entry) are one transaction.
 *  C. Locks: conversion, then function, then the account (journal).
 */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type { Report, Rule } from "#models/job.ts";
import type { Tx } from "../../database/open.ts";
import type { Job, JobQueue } from "../jobs/index.ts";
import { append } from "../journal/index.ts";

export const WORK_CHANNEL = "casemate_models";

export interface TaskJob {
  conversion: string;
}
export type TaskQueue = JobQueue<TaskJob>;

export interface TaskOptions {
  level?: "basic" | "extended";
  scheme?: "weight-only";
  freeze?: Record<string, number>;
  renames?: Record<string, string>;
}

export interface NewTask {
  functionId: string;
  number: number;
  /** Null: a look at the version. */
  target: string | null;
  options: TaskOptions;
  /** True: a worker outside comes for it. */
  external: boolean;
  /** Who shares the bound on work at once. */
  party: string;
}

export async function enqueue(tx: Tx, queue: TaskQueue, task: NewTask): Promise<string> {
  const id = randomUUID();
  const { functionId, number, target, options, external, party } = task;
  await sql`
    insert into conversions (id, function_id, number, target, options, external)
    values (${id}, ${functionId}, ${number}, ${target}, ${JSON.stringify(options)}, ${external})`.execute(tx);
  if (!external) await addJob(tx, queue, id, party);
  return id;
}

export async function addJob(
  tx: Tx,
  queue: TaskQueue,
  id: string,
  party: string,
  startAfterMs = 0,
): Promise<void> {
  const when = startAfterMs === 0 ? {} : { startAfterMs };
  await queue.add(tx, [{ id: randomUUID(), data: { conversion: id }, group: party, ...when }]);
  await sql`select pg_notify(${WORK_CHANNEL}, '')`.execute(tx);
}

export interface Held {
  id: string;
  attempt: number;
  functionId: string;
  number: number;
  target: string | null;
  options: TaskOptions;
  format: string;
  digest: Buffer | null;
  party: string;
  account: string;
}

/** Null when it is nobody's to take: cancelled, taken, or gone with its model. */
export async function take(tx: Tx, job: Job<TaskJob>, replica: string, forMs: number): Promise<Held | null> {
  const { rows } = await sql<Held>`
    with taken as (
      update conversions set status = 'processing', attempt = attempt + 1, held_by = ${replica}, progress = 0,
        started_at = now(), lease_until = now() + make_interval(secs => ${forMs / 1000}), job = ${JSON.stringify(job)}
      where id = ${job.data.conversion} and status = 'queued' returning *
    )
    select t.id, t.attempt, t.function_id as "functionId", t.number, t.target, t.options, v.format, v.digest,
      f.party_id as party, p.account_id as account
    from taken t join function_versions v on v.function_id = t.function_id and v.number = t.number
    join functions f on f.id = t.function_id join parties p on p.id = f.party_id`.execute(tx);
  const held = rows[0];
  if (held === undefined) return null;
  await settleFunction(tx, held.functionId);
  await tell(tx, held, "processing", 0, "taken");
  return held;
}

export async function progress(tx: Tx, held: Held, share: number, log: string): Promise<void> {
  const { rows } = await sql`
    update conversions set progress = ${share}, log = log || ${`${log}\n`}
    where id = ${held.id} and attempt = ${held.attempt} and status = 'processing' returning 1`.execute(tx);
  if (rows.length === 1) await tell(tx, held, "processing", share, log);
}

export type Outcome =
  | { status: "ok"; log: string; artifactId?: string }
  | { status: "error"; log: string; rules: Rule[] };

/** False: it was cancelled or taken by another meanwhile, and nothing of this counts (A). */
export async function finish(tx: Tx, held: Held, outcome: Outcome): Promise<boolean> {
  const rules = outcome.status === "error" ? outcome.rules : [];
  const artifact = outcome.status === "ok" ? (outcome.artifactId ?? null) : null;
  const { rows } = await sql`
    update conversions set status = ${outcome.status}, finished_at = now(), log = log || ${`${outcome.log}\n`},
      progress = case when ${outcome.status === "ok"} then 1 else progress end,
      rules = ${JSON.stringify(rules)}, artifact_id = ${artifact}, held_by = null, lease_hash = null, lease_until = null
    where id = ${held.id} and attempt = ${held.attempt} and status = 'processing' returning 1`.execute(tx);
  return rows.length === 1;
}

/** Last in the transaction: it takes the account's lock (C). */
export async function settled(tx: Tx, held: Held, outcome: Outcome): Promise<void> {
  await settleFunction(tx, held.functionId);
  await tell(tx, held, outcome.status, outcome.status === "ok" ? 1 : 0, outcome.log);
}

export async function giveBack(tx: Tx, held: Held, why: string): Promise<boolean> {
  const { rows } = await sql`
    update conversions set status = 'queued', held_by = null, lease_until = null, lease_hash = null,
      log = log || ${`${why}\n`}
    where id = ${held.id} and attempt = ${held.attempt} and status = 'processing' returning 1`.execute(tx);
  return rows.length === 1;
}

export async function keepReport(tx: Tx, held: Held, report: Report, kept: boolean): Promise<void> {
  await sql`
    update function_versions set report = ${JSON.stringify(report)}, digest = case when ${kept} then digest end
    where function_id = ${held.functionId} and number = ${held.number}`.execute(tx);
  if (!kept)
    await sql`
      delete from function_artifacts where function_id = ${held.functionId} and number = ${held.number}`.execute(
      tx,
    );
}

/** What the work on the newest version says of the model as a whole. */
export async function settleFunction(tx: Tx, functionId: string): Promise<void> {
  await sql`
    update functions f set updated_at = date_trunc('milliseconds', now()), status = case
      when w.looking then case when w.working then 'processing' else 'queued' end
      when w.made > 0 then 'ok'
      when w.open > 0 then 'processing'
      when w.asked = 0 and w.conforms then 'ok'
      else 'error' end
    from (
      select
        count(*) filter (where c.target is null and c.status in ('queued', 'processing')) > 0 as looking,
        count(*) filter (where c.target is null and c.status = 'processing') > 0 as working,
        count(*) filter (where c.target is not null and c.status = 'ok') as made,
        count(*) filter (where c.target is not null and c.status in ('queued', 'processing') and not c.external) as open,
        count(*) filter (where c.target is not null and not c.external) as asked,
        coalesce((select (v.report->>'Conforms')::boolean from functions g
          join function_versions v on v.function_id = g.id and v.number = g.latest where g.id = ${functionId}), false) as conforms
      from functions g left join conversions c on c.function_id = g.id and c.number = g.latest where g.id = ${functionId}
    ) w
    where f.id = ${functionId}`.execute(tx);
}

export async function tell(
  tx: Tx,
  { id, account, target, functionId }: Pick<Held, "id" | "account" | "target" | "functionId">,
  status: string,
  share: number,
  log: string,
): Promise<void> {
  await append(tx, {
    ...{ account, type: "model.conversion", subject: id },
    payload: {
      Status: status,
      Progress: share,
      Log: log.slice(0, 500),
      Target: target,
      Function: functionId,
    },
  });
}
