// SPDX-License-Identifier: Apache-2.0
/** What happened to the caller's account: pages, one event, and a stream. */
import { Fault } from "#contract/errors.ts";
import type { getEvent, listEvents, streamEvents } from "#contract/platform/events.ts";
import { typesMatching } from "#contract/platform/vocabulary.ts";
import {
  eventRowsAfter,
  findEventRow,
  listEventRows,
  readableAfter,
  seqOfEvent,
  showEvent,
} from "../../core/events/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { cursorAt, parseCursor } from "../../http/cursor.ts";
import { followEvents, lastEventId } from "../../http/event-stream.ts";
import type { PlatformDeps } from "./deps.ts";

export async function list({ db }: Pick<PlatformDeps, "db">, call: Call<typeof listEvents>): Promise<Answer> {
  const { limit = 50, cursor, type = "*" } = call.query;
  const before = cursor === undefined ? null : Number(parseCursor(cursor, /^\d{1,15}$/).id);
  const rows = await listEventRows(db, call.account.id, {
    ...{ types: typesMatching([type]), before },
    limit: limit + 1,
  });
  const page = rows.slice(0, limit);
  const last = rows.length > limit ? page.at(-1)! : null;
  return {
    status: 200,
    body: {
      events: page.map((row) => showEvent(call.account.id, row)),
      next_cursor: last === null ? null : cursorAt({ created_at: last.at, id: String(last.seq) }),
    },
  };
}

export async function read({ db }: Pick<PlatformDeps, "db">, call: Call<typeof getEvent>): Promise<Answer> {
  const seq = seqOfEvent(call.account.id, call.params.id);
  const row = seq === null ? null : await findEventRow(db.soft, call.account.id, seq);
  if (row === null) throw new Fault("event.not-found");
  return { status: 200, body: showEvent(call.account.id, row) };
}

/** A key that was revoked meanwhile, or an account that changed, is noticed when the stream is resumed. */
const STREAM_MS = 3_600_000;

export async function stream(
  { db, feed }: Pick<PlatformDeps, "db" | "feed">,
  call: Call<typeof streamEvents>,
): Promise<Answer> {
  const account = call.account.id;
  const types = typesMatching([call.query.type ?? "*"]);
  const resumed = lastEventId(call.headers);
  const { newest, pruned } = await readableAfter(db.soft, account, resumed ?? 0);
  if (resumed !== undefined && pruned) throw new Fault("event.pruned", { after: resumed });
  const end = performance.now() + STREAM_MS;
  const events = followEvents(
    {
      read: (seq, limit) => eventRowsAfter(db, account, { types, seq, limit }),
      more: (timeoutMs, signal) => feed.wait(account, timeoutMs, signal),
      show: (row) => {
        const event = showEvent(account, row);
        return { event: event.type, data: event };
      },
      isLast: () => false,
      isOver: async () => performance.now() > end,
    },
    Math.min(resumed ?? newest, newest),
    call.signal,
  );
  return { status: 200, events };
}
