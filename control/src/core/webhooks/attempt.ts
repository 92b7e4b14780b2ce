// SPDX-License-Identifier: Apache-2.0
/**
 * One try of one delivery. The attacker may be the account, who names an address of ours or of a neighbour
 * (core/ingress/guarded-dialer.ts stops them), or the receiver, who hangs, drips or pours.
 *
 *  A. Nothing is held while the receiver is asked: what is to be sent is read before, what came of it is
 *     written after, in one transaction with the next try's job and the end of this one's.
 *  B. A process that dies in between has sent what it does not know of. The job is taken again and the same
 *     message sent again, under the same id: at least once.
 *  C. What is written counts only for the try that was taken: a job that is run twice counts once.
 *  D. Of the answer the status is kept, and of what went wrong one word of a closed list.
 */
import { sql } from "kysely";
import type { Database, Tx } from "../../database/open.ts";
import { type EventRow, eventIdOf, findEventRow, showEvent } from "../events/index.ts";
import { type Guard, guardedFetch, Obstructed } from "../ingress/index.ts";
import type { Job } from "../jobs/index.ts";
import { append } from "../journal/index.ts";
import type { Vault } from "../vault/index.ts";
import { type DeliveryJob, type DeliveryQueue, jobOf } from "./deliveries.ts";
import { disableEndpoint, type EndpointRow, openSecrets, openUrl } from "./endpoints.ts";
import { pauseMs } from "./retry.ts";
import { signedHeaders } from "./secret.ts";

export interface AttemptDeps {
  db: Database;
  vault: Vault;
  guard: Guard;
  queue: DeliveryQueue;
  /** For everything: name, connection, answer. */
  timeoutMs: number;
  retryFirstMs: number;
}

/** As much of an answer as is read, so that ordinary receivers see their answer taken. */
const ANSWER_BYTES_MAX = 64 * 1024;
const GONE = 410;
/** An endpoint where nothing could be delivered for so long is disabled with the next delivery that is given up. */
const FAILING_FOR = sql`interval '5 days'`;

type Due = EndpointRow & { event_seq: number };

export async function attempt(deps: AttemptDeps, job: Job<DeliveryJob>): Promise<void> {
  const due = await findDue(deps.db, job.data);
  const event = due === null ? null : await findEventRow(deps.db.soft, due.account_id, due.event_seq);
  if (due === null) return deps.db.write((tx) => deps.queue.complete(tx, job));
  const sent: Sent =
    event === null ? { durationMs: 0, status: null, obstacle: "expired" } : await send(deps, due, event);
  await deps.db.write((tx) => record(deps, tx, job, due, sent));
}

/** Null when this try was made, or there is nothing to try any more. */
async function findDue(db: Database, { delivery, attempt }: DeliveryJob): Promise<Due | null> {
  const { rows } = await sql<Due>`
    select e.*, d.event_seq,
      case when e.previous_until > now() then e.previous_sealed end as previous_sealed
    from webhook_deliveries d join webhook_endpoints e on e.id = d.endpoint_id
    where d.id = ${delivery} and d.state = 'pending' and d.attempts = ${attempt} and e.disabled_at is null`.execute(
    db.run,
  );
  return rows[0] ?? null;
}

interface Sent {
  durationMs: number;
  status: number | null;
  obstacle: string | null;
}

async function send({ vault, guard, timeoutMs }: AttemptDeps, endpoint: Due, event: EventRow): Promise<Sent> {
  const account = endpoint.account_id;
  const body = JSON.stringify(showEvent(account, event));
  const message = { id: eventIdOf(account, event.seq), at: new Date(), body };
  const [url, secrets] = await Promise.all([openUrl(vault, endpoint), openSecrets(vault, endpoint)]);
  const began = performance.now();
  const elapsed = () => Math.round(performance.now() - began);
  try {
    const { status } = await guardedFetch(guard, url, {
      method: "POST",
      headers: {
        ...signedHeaders(message, secrets),
        "content-type": "application/json",
        "user-agent": "Casemate-Webhooks",
      },
      body: Buffer.from(body),
      ...{ timeoutMs, bodyBytesMax: ANSWER_BYTES_MAX, excess: "cut" },
    });
    return { durationMs: elapsed(), status, obstacle: null };
  } catch (error) {
    // D: a message may name what only we can see.
    if (error instanceof Obstructed) return { durationMs: elapsed(), status: null, obstacle: error.obstacle };
    throw error;
  }
}

async function record(
  deps: AttemptDeps,
  tx: Tx,
  job: Job<DeliveryJob>,
  endpoint: Due,
  sent: Sent,
): Promise<void> {
  const { delivery, attempt } = job.data;
  // Endpoints are locked before their deliveries (endpoints.ts, A).
  await sql`select from webhook_endpoints where id = ${endpoint.id} for no key update`.execute(tx);
  const taken = sent.status !== null && sent.status >= 200 && sent.status < 300;
  const ended = taken || sent.status === GONE || sent.obstacle === "expired";
  const pause = ended ? null : await nextPause(deps, tx, job.data);
  const state = taken ? "delivered" : pause === null ? "failed" : "pending";
  const { rows } = await sql`
    update webhook_deliveries set attempts = attempts + 1, state = ${state},
      next_at = now() + ${pause}::bigint * interval '1 millisecond'
    where id = ${delivery} and attempts = ${attempt} and state = 'pending' returning id`.execute(tx);
  await deps.queue.complete(tx, job);
  // C.
  if (rows.length === 0) return;
  await sql`
    insert into webhook_attempts (delivery_id, number, at, duration_ms, status, obstacle)
    values (${delivery}, ${attempt + 1}, clock_timestamp() - ${sent.durationMs}::int * interval '1 millisecond',
      ${sent.durationMs}, ${sent.status}, ${sent.obstacle})`.execute(tx);
  if (pause !== null)
    await deps.queue.add(tx, [{ ...jobOf(delivery, attempt + 1, endpoint.id), startAfterMs: pause }]);
  await judge(tx, endpoint, sent, { taken, givenUp: state === "failed" });
}

async function nextPause(
  { retryFirstMs }: AttemptDeps,
  tx: Tx,
  { delivery, attempt }: DeliveryJob,
): Promise<number | null> {
  const { rows } = await sql<{ age_ms: number }>`
    select (extract(epoch from now() - created_at) * 1000)::bigint as age_ms
    from webhook_deliveries where id = ${delivery}`.execute(tx);
  if (rows[0] === undefined) return null;
  return pauseMs({
    ...{ attempts: attempt + 1, ageMs: rows[0].age_ms, firstMs: retryFirstMs },
    chance: Math.random(),
  });
}

/** What a try means for its endpoint. */
async function judge(
  tx: Tx,
  { id, account_id: account }: Due,
  { status }: Sent,
  { taken, givenUp }: { taken: boolean; givenUp: boolean },
): Promise<void> {
  const { rows } = await sql<{ hopeless: boolean }>`
    update webhook_endpoints
    set failing_since = case when not ${taken}::boolean then coalesce(failing_since, now()) end
    where id = ${id} and not (${taken}::boolean and failing_since is null)
    returning failing_since < now() - ${FAILING_FOR} as hopeless`.execute(tx);
  const reason = status === GONE ? "gone" : givenUp && rows[0]?.hopeless ? "failing" : null;
  if (reason !== null && (await disableEndpoint(tx, { id }, reason)))
    await append(tx, { account, type: "webhook.disabled", subject: id, payload: { reason } });
}
