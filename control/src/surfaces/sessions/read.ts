// SPDX-License-Identifier: Apache-2.0
/** Reading sessions: one, a page, and waiting for a state. */
import { Fault } from "#contract/errors.ts";
import type { getSession, listSessions } from "#contract/sessions/read.ts";
import { SessionStatus } from "#contract/sessions/vocabulary.ts";
import type { Answer, Call } from "../../http/call.ts";
import { cursorAt, parseCursor } from "../../http/cursor.ts";
import { matchesEtag } from "../../http/etag.ts";
import type { Deps } from "./deps.ts";
import { listSessionRows, requireSession, type SessionRow } from "./rows.ts";
import { etagOf, viewSession } from "./view.ts";

export async function read(deps: Pick<Deps, "db" | "feed">, call: Call<typeof getSession>): Promise<Answer> {
  const row = await waitFor(deps, call);
  const etag = etagOf(row);
  if (matchesEtag(call.headers["if-none-match"], etag)) return { status: 304, headers: { etag } };
  return { status: 200, body: viewSession(row), headers: { etag } };
}

const STATES: string[] = [...SessionStatus.enum, "ended"];

/** Long poll: answers at once when the state is there already, and with the present one at the timeout. */
async function waitFor(
  { db, feed }: Pick<Deps, "db" | "feed">,
  call: Call<typeof getSession>,
): Promise<SessionRow> {
  const { wait, timeout = 30 } = call.query;
  const wanted = wait?.split(",");
  const unknown = wanted?.find((state) => !STATES.includes(state));
  if (unknown !== undefined)
    throw new Fault("request.invalid", { detail: `wait: there is no state ${unknown.slice(0, 40)}` });
  const deadline = performance.now() + timeout * 1000;
  for (;;) {
    const row = await requireSession(db.soft, call.account.id, call.params.id);
    const left = deadline - performance.now();
    const reached =
      wanted === undefined ||
      wanted.includes(row.status) ||
      (row.ended_at !== null && wanted.includes("ended"));
    if (reached || row.ended_at !== null || left <= 0 || call.signal.aborted) return row;
    await feed.wait(row.id, Math.min(left, 1000), call.signal);
  }
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
