// SPDX-License-Identifier: Apache-2.0
/**
 * From the journal to deliveries, account by account. Writers of the journal do nothing for it: whoever has
 * no webhook pays nothing for those who have.
 *
 *  A. Cursor, deliveries and their jobs move in one transaction under the cursor's lock, so each entry is
 *     fanned out exactly once however many replicas try and whenever one dies. Whoever finds the lock taken
 *     leaves the account to the other.
 *  B. An account's numbers are committed in order (journal/append.ts, A), so nothing can appear behind a cursor.
 *  C. What waits at an endpoint is bounded; one that is behind by more is disabled, and the account told.
 */
import { sql } from "kysely";
import { typesMatching } from "#contract/platform/vocabulary.ts";
import type { Database, Tx } from "../../database/open.ts";
import { eventTypeOf } from "../events/index.ts";
import { append } from "../journal/index.ts";
import { addDeliveries, type DeliveryQueue, type NewDelivery } from "./deliveries.ts";
import { disableEndpoint, type EndpointRow } from "./endpoints.ts";

const BATCH = 200;
const WAITING_MAX = 10_000;

/** Fans out all that the account's journal holds by now. */
export async function fanOut(db: Database, queue: DeliveryQueue, account: string): Promise<void> {
  while ((await db.write((tx) => fanOutBatch(tx, queue, account))) === BATCH);
}

/** How many entries were read. */
async function fanOutBatch(tx: Tx, queue: DeliveryQueue, account: string): Promise<number> {
  // A.
  const { rows: cursors } = await sql<{ seq: number }>`
    select seq from webhook_cursors where account_id = ${account} for update skip locked`.execute(tx);
  if (cursors[0] === undefined) return 0;
  const { rows: entries } = await sql<{ seq: number; type: string }>`
    select seq, type from journal where account_id = ${account} and seq > ${cursors[0].seq}
    order by seq limit ${BATCH}`.execute(tx);
  const last = entries.at(-1);
  if (last === undefined) return 0;
  await sql`update webhook_cursors set seq = ${last.seq} where account_id = ${account}`.execute(tx);
  const endpoints = await openEndpoints(tx, account);
  const made = entries.flatMap(({ seq, type }) => deliveriesOf(account, seq, type, endpoints));
  await addDeliveries(tx, queue, made);
  return entries.length;
}

type OpenEndpoint = Pick<EndpointRow, "id" | "events"> & { from_seq: number };

async function openEndpoints(tx: Tx, account: string): Promise<OpenEndpoint[]> {
  const { rows } = await sql<OpenEndpoint & { waiting: number }>`
    select id, events, from_seq,
      (select count(*) from (
        select from webhook_deliveries where endpoint_id = e.id and state = 'pending' limit ${WAITING_MAX}) w)::int as waiting
    from webhook_endpoints e where account_id = ${account} and disabled_at is null order by id`.execute(tx);
  // C.
  for (const { id } of rows.filter(({ waiting }) => waiting >= WAITING_MAX))
    if (await disableEndpoint(tx, { id }, "backlog"))
      await append(tx, { account, type: "webhook.disabled", subject: id, payload: { reason: "backlog" } });
  return rows.filter(({ waiting }) => waiting < WAITING_MAX);
}

function deliveriesOf(
  account: string,
  seq: number,
  journalled: string,
  endpoints: OpenEndpoint[],
): NewDelivery[] {
  const type = eventTypeOf(journalled);
  // A test is sent by whoever asks for it, to one endpoint and whatever that is for.
  if (type === null || type === "webhook.test") return [];
  return endpoints
    .filter(({ events, from_seq }) => seq > from_seq && typesMatching(events).includes(type))
    .map(({ id }) => ({ endpoint: id, account, seq, type, replayOf: null }));
}
