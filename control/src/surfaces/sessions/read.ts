// SPDX-License-Identifier: Apache-2.0
/** Reading sessions: one, a page, and waiting for a state. */
import type { getSession, listSessions } from "#contract/sessions/read.ts";
import { SessionStatus } from "#contract/sessions/vocabulary.ts";
import type { Answer, Call } from "../../http/call.ts";
import { cursorAt, parseCursor } from "../../http/cursor.ts";
import { matchesEtag } from "../../http/etag.ts";
import { waitFor } from "../../http/wait-for.ts";
import type { Deps } from "./deps.ts";
import { listSessionRows, requireSession } from "./rows.ts";
import { etagOf, viewSession } from "./view.ts";

export async function read(deps: Pick<Deps, "db" | "feed">, call: Call<typeof getSession>): Promise<Answer> {
  const row = await waitFor(call, {
    states: SessionStatus.enum,
    read: () => requireSession(deps.db.soft, call.account.id, call.params.id),
    statusOf: ({ status }) => status,
    isOver: ({ ended_at }) => ended_at !== null,
    more: ({ id }, timeoutMs, signal) => deps.feed.wait(id, timeoutMs, signal),
  });
  const etag = etagOf(row);
  if (matchesEtag(call.headers["if-none-match"], etag)) return { status: 304, headers: { etag } };
  return { status: 200, body: viewSession(row), headers: { etag } };
}

const ID = /^sess_[0-9a-f]{32}$/;

export async function list(deps: Pick<Deps, "db">, call: Call<typeof listSessions>): Promise<Answer> {
  const { limit = 50, cursor, status } = call.query;
  const after = cursor === undefined ? null : parseCursor(cursor, ID);
  const rows = await listSessionRows(deps.db.soft, {
    account: call.account.id,
    status: status ?? null,
    after,
    limit: limit + 1,
  });
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const more = rows.length > limit && last !== undefined;
  return {
    status: 200,
    body: {
      sessions: page.map(viewSession),
      next_cursor: more ? cursorAt(last) : null,
    },
  };
}
