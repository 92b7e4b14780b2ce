// SPDX-License-Identifier: Apache-2.0
/** What was sent to a webhook, and sending it again. */
import { Fault } from "#contract/errors.ts";
import type { listDeliveries, replayDelivery } from "#contract/platform/webhooks.ts";
import { eventIdOf, findEventRow } from "../../core/events/index.ts";
import {
  addDeliveries,
  listDeliveries as findDeliveries,
  requireDelivery,
  requireEndpoint,
} from "../../core/webhooks/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { cursorAt, parseCursor } from "../../http/cursor.ts";
import type { PlatformDeps } from "./deps.ts";
import { requireEnabled } from "./webhooks.ts";

const ID = /^whd_[0-9a-f]{32}$/;

export async function list(
  { db }: Pick<PlatformDeps, "db">,
  call: Call<typeof listDeliveries>,
): Promise<Answer> {
  const { limit = 50, cursor, state = null } = call.query;
  const endpoint = await requireEndpoint(db.soft, call.account.id, call.params.id);
  const rows = await findDeliveries(db.soft, {
    ...{ endpoint: endpoint.id, state },
    after: cursor === undefined ? null : parseCursor(cursor, ID),
    limit: limit + 1,
  });
  const page = rows.slice(0, limit);
  return {
    status: 200,
    body: {
      deliveries: page.map((row) => ({
        id: row.id,
        event_id: eventIdOf(call.account.id, row.event_seq),
        event_type: row.event_type,
        state: row.state,
        replay_of: row.replay_of,
        created_at: row.created_at.toISOString(),
        next_attempt_at: row.state === "pending" ? (row.next_at?.toISOString() ?? null) : null,
        attempts: row.attempts.map(({ number, at, duration_ms, status, obstacle }) => ({
          ...{ number, at: at.toISOString(), duration_ms, status, obstacle },
        })),
      })),
      next_cursor: rows.length > limit ? cursorAt(page.at(-1)!) : null,
    },
  };
}

/** A delivery of its own, with three days of its own; the message is the same and has the same id. */
export async function replay(
  { db, webhooks }: Pick<PlatformDeps, "db" | "webhooks">,
  call: Call<typeof replayDelivery>,
): Promise<Answer> {
  const account = call.account.id;
  const endpoint = await requireEnabled(db, account, call.params.id);
  const {
    id,
    event_seq: seq,
    event_type: type,
  } = await requireDelivery(db.run, endpoint.id, call.params.delivery_id);
  if ((await findEventRow(db.run, account, seq)) === null) throw new Fault("event.not-found");
  const queue = await webhooks.queue();
  const made = { endpoint: endpoint.id, account, seq, type, replayOf: id };
  const [delivery] = await db.write((tx) => addDeliveries(tx, queue, [made]));
  return { status: 202, body: { delivery_id: delivery } };
}
