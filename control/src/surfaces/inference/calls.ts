// SPDX-License-Identifier: Apache-2.0
/**
 * Calls in the ledger: written when they begin, closed once when they are over, never edited after that.
 *
 *  A. What a call may cost is held of its instance's limit in the statement that records it, so that many at once exceed the limit by no
 *     more than the last of them. When it is over, what it did cost takes the place of that.
 *  B. One whose process died holds nothing longer than a call may take (`reapCalls`).
 *  C. No prompt and no answer comes here.
 */
import { sql } from "kysely";
import { makeId } from "../../core/identity/index.ts";
import type { Database, Db } from "../../database/open.ts";
import type { Tokens } from "./tokens.ts";

export type Operation = "chat" | "completions" | "embeddings";
export type Outcome = "answered" | "cut" | "failed";

export interface NewCall {
  account: string;
  instance: string;
  operation: Operation;
  model: string;
  upstream: string;
  heldMicros: number;
  /** Null is unlimited. */
  limitMicros: number | null;
}

/** What an instance that may ask has chosen; null: it may not, or no more. */
export async function findAsker(db: Db, instance: string): Promise<{ model: string | null } | null> {
  const { rows } = await sql<{ model: string | null }>`
    select inference_model as model from instances where id = ${instance} and status in ('provisioning', 'ready')`.execute(
    db,
  );
  return rows[0] ?? null;
}

/** The call's id; null: the limit is reached. */
export async function beginCall(db: Db, call: NewCall): Promise<string | null> {
  const id = makeId("inf");
  const { rows } = await sql<{ id: string }>`
    with held as (
      insert into inference_spend as s (instance_id, held_micros)
      select ${call.instance}, ${call.heldMicros}::bigint where ${call.limitMicros}::bigint is null or ${call.limitMicros}::bigint > 0
      on conflict (instance_id) do update set held_micros = s.held_micros + excluded.held_micros
        where ${call.limitMicros}::bigint is null or s.spent_micros + s.held_micros < ${call.limitMicros}::bigint
      returning instance_id
    )
    insert into inference_calls (id, account_id, instance_id, operation, model, upstream, held_micros)
    select ${id}, ${call.account}, instance_id, ${call.operation}, ${call.model}, ${call.upstream}, ${call.heldMicros}::bigint
    from held returning id`.execute(db);
  return rows[0]?.id ?? null;
}

export interface CallEnd {
  outcome: Outcome;
  /** Null: there were none. */
  tokens: Tokens | null;
  costMicros: number;
}

/** A second time it does nothing. */
export async function endCall(db: Db, id: string, { outcome, tokens, costMicros }: CallEnd): Promise<void> {
  await sql`
    with over as (
      update inference_calls set ended_at = now(), outcome = ${outcome}, cost_micros = ${costMicros}::bigint,
        input_tokens = ${tokens?.input ?? null}::bigint, output_tokens = ${tokens?.output ?? null}::bigint
      where id = ${id} and ended_at is null returning instance_id, held_micros, cost_micros
    )
    update inference_spend s set spent_micros = s.spent_micros + over.cost_micros,
      held_micros = greatest(0, s.held_micros - over.held_micros)
    from over where s.instance_id = over.instance_id`.execute(db);
}

const PRUNE_BATCH = 5_000;

/**
 * Calls that are older are forgotten one by one, and their sums stay by days: in one statement, so that no moment has them twice or not at
 * all. Whoever asks for a cycle finds all of its calls: none is so old (`retention.inferenceCallDays` is more than a month).
 */
export async function pruneCalls(db: Db, days: number): Promise<void> {
  await sql`
    with old as (
      select id from inference_calls where ended_at < date_trunc('day', now() at time zone 'UTC') at time zone 'UTC'
        - make_interval(days => ${days}) order by ended_at limit ${PRUNE_BATCH} for update skip locked
    ), gone as (
      delete from inference_calls c using old where c.id = old.id
      returning c.instance_id, (c.ended_at at time zone 'UTC')::date as day, c.input_tokens, c.output_tokens, c.cost_micros
    )
    insert into inference_past as p (instance_id, day, calls, input_tokens, output_tokens, cost_micros)
    select instance_id, day, count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), sum(cost_micros)
    from gone group by instance_id, day order by instance_id, day
    on conflict (instance_id, day) do update set calls = p.calls + excluded.calls,
      input_tokens = p.input_tokens + excluded.input_tokens, output_tokens = p.output_tokens + excluded.output_tokens,
      cost_micros = p.cost_micros + excluded.cost_micros`.execute(db);
}

const BATCH = 100;

/** Calls whose process died: nothing more is known of them than that they were made. */
export async function reapCalls({ run }: Database, olderThanMs: number): Promise<void> {
  const { rows } = await sql<{ id: string }>`
    select id from inference_calls where ended_at is null
      and started_at < now() - make_interval(secs => ${olderThanMs / 1000}) limit ${BATCH}`.execute(run);
  for (const { id } of rows) await endCall(run, id, { outcome: "failed", tokens: null, costMicros: 0 });
}
