// SPDX-License-Identifier: Apache-2.0
/** What is to be sent where, and how each try went. What a receiver answered is not kept. */
import { createHash } from "node:crypto";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { EventType } from "#contract/platform/vocabulary.ts";
import type { Db, Tx } from "../../database/open.ts";
import { makeId } from "../identity/index.ts";
import { JOBS_SCHEMA, type JobQueue, type NewJob } from "../jobs/index.ts";

/** What a job says: this try of this delivery, and no other. */
export interface DeliveryJob {
  delivery: string;
  /** Tries that were made before this one. */
  attempt: number;
}
export type DeliveryQueue = JobQueue<DeliveryJob>;

/** Rung when there is something to send. */
export const DELIVERIES_CHANNEL = "casemate_deliveries";

export interface NewDelivery {
  endpoint: string;
  account: string;
  seq: number;
  type: EventType;
  replayOf: string | null;
}

/** Makes deliveries with their jobs, and leaves out what was made before. Answers their ids. */
export async function addDeliveries(tx: Tx, queue: DeliveryQueue, made: NewDelivery[]): Promise<string[]> {
  if (made.length === 0) return [];
  const { rows } = await sql<{ id: string; endpoint_id: string }>`
    insert into webhook_deliveries (id, endpoint_id, account_id, event_seq, event_type, replay_of)
    select * from unnest(
      ${made.map(() => makeId("whd"))}::text[], ${made.map(({ endpoint }) => endpoint)}::text[],
      ${made.map(({ account }) => account)}::text[], ${made.map(({ seq }) => seq)}::bigint[],
      ${made.map(({ type }) => type)}::text[], ${made.map(({ replayOf }) => replayOf)}::text[])
    on conflict (endpoint_id, event_seq) where replay_of is null do nothing
    returning id, endpoint_id`.execute(tx);
  await queue.add(
    tx,
    rows.map((row) => jobOf(row.id, 0, row.endpoint_id)),
  );
  await sql`select pg_notify(${DELIVERIES_CHANNEL}, '')`.execute(tx);
  return rows.map(({ id }) => id);
}

/** The same job for the same try, whoever makes it: a second one is not made. */
export function jobOf(delivery: string, attempt: number, group: string): NewJob<DeliveryJob> {
  const hex = createHash("sha256").update(`${delivery}/${attempt}`).digest("hex");
  const id = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  return { id, data: { delivery, attempt }, group };
}

/**
 * Of the jobs that deliver what the journal says of this subject, those that hold anything beside whose they
 * are. Found by the numbers they were made under: the queue knows no subjects.
 */
export async function countForeignJobs(db: Db, account: string, subject: string): Promise<number> {
  const { rows: deliveries } = await sql<{ id: string; attempts: number }>`
    select d.id, d.attempts from journal j
      join webhook_endpoints e on e.account_id = j.account_id
      join webhook_deliveries d on d.endpoint_id = e.id and d.event_seq = j.seq and d.replay_of is null
    where j.account_id = ${account} and j.subject = ${subject}`.execute(db);
  // Without a delivery there may not even be a queue.
  if (deliveries.length === 0) return 0;
  const jobs = deliveries.flatMap(({ id, attempts }) =>
    Array.from({ length: attempts + 1 }, (_, attempt) => jobOf(id, attempt, "").id),
  );
  const { rows } = await sql<{ jobs: number }>`
    select count(*)::int as jobs from ${sql.id(JOBS_SCHEMA, "job")}
    where id = any(${jobs}::uuid[])
      and (data - 'attempt' <> jsonb_build_object('delivery', data->>'delivery')
        or not data->>'delivery' = any(${deliveries.map(({ id }) => id)})
        or jsonb_typeof(data->'attempt') <> 'number'
        or output::text !~ '^(null|{"value": {"message": "[a-z ]{1,32}"}})$')`.execute(db);
  return rows[0]!.jobs;
}

export interface DeliveryRow {
  id: string;
  event_seq: number;
  event_type: EventType;
  state: "pending" | "delivered" | "failed";
  replay_of: string | null;
  created_at: Date;
  next_at: Date | null;
}

export interface AttemptRow {
  delivery_id: string;
  number: number;
  at: Date;
  duration_ms: number;
  status: number | null;
  obstacle: string | null;
}

export interface DeliveryPage {
  endpoint: string;
  state: string | null;
  after: { createdAt: string; id: string } | null;
  limit: number;
}

/** Newest first. */
export async function listDeliveries(
  db: Db,
  { endpoint, state, after, limit }: DeliveryPage,
): Promise<(DeliveryRow & { attempts: AttemptRow[] })[]> {
  const { rows } = await sql<DeliveryRow>`
    select id, event_seq, event_type, state, replay_of, created_at, next_at from webhook_deliveries
    where endpoint_id = ${endpoint} and (${state}::text is null or state = ${state})
      and (${after?.id ?? null}::text is null
           or (created_at, id) < (${after?.createdAt ?? null}::timestamptz, ${after?.id ?? null}))
    order by created_at desc, id desc limit ${limit}`.execute(db);
  const { rows: tries } = await sql<AttemptRow>`
    select * from webhook_attempts where delivery_id = any(${rows.map(({ id }) => id)}) order by number`.execute(
    db,
  );
  const byDelivery = Map.groupBy(tries, (each) => each.delivery_id);
  return rows.map((row) => ({ ...row, attempts: byDelivery.get(row.id) ?? [] }));
}

export async function requireDelivery(db: Db, endpoint: string, id: string): Promise<DeliveryRow> {
  const { rows } = await sql<DeliveryRow>`
    select id, event_seq, event_type, state, replay_of, created_at, next_at from webhook_deliveries
    where id = ${/^whd_[0-9a-f]{32}$/.test(id) ? id : ""} and endpoint_id = ${endpoint}`.execute(db);
  if (rows[0] === undefined) throw new Fault("delivery.not-found");
  return rows[0];
}
