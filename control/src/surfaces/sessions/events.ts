// SPDX-License-Identifier: Apache-2.0
/** A session's events as they are journalled. Always ends with a terminal event when the session does. */
import { Fault } from "#contract/errors.ts";
import type { sessionEvents } from "#contract/sessions/read.ts";
import { findCheckpoint } from "../../core/journal/index.ts";
import type { Answer, Call, ServerEvent } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { requireSession } from "./rows.ts";
import { wireTime } from "./time.ts";

const PAGE = 500;
const HEARTBEAT_MS = 15_000;
const FINAL = new Set(["session.destroyed", "session.expired", "session.expired_unclean", "session.failed"]);

export async function events(
  deps: Pick<Deps, "db" | "feed">,
  call: Call<typeof sessionEvents>,
): Promise<Answer> {
  const session = await requireSession(deps.db.soft, call.account.id, call.params.id);
  const resumed = call.headers["last-event-id"];
  if (resumed !== undefined && !/^\d{1,15}$/.test(String(resumed))) {
    throw new Fault("request.invalid", { detail: "Last-Event-ID is not one of ours" });
  }
  const from = Number(resumed ?? 0);
  const pruned = (await findCheckpoint(deps.db, call.account.id))?.seq ?? 0;
  // A first read starts with what is left; a resumed one must not skip what it has not seen.
  if (resumed !== undefined && from < pruned) throw new Fault("session.gone-events", { oldest: pruned + 1 });
  return { status: 200, events: follow(deps, call, session.id, from) };
}

async function* follow(
  { db, feed }: Pick<Deps, "db" | "feed">,
  call: Call<typeof sessionEvents>,
  subject: string,
  from: number,
): AsyncGenerator<ServerEvent> {
  let seen = from;
  let quietSince = performance.now();
  while (!call.signal.aborted) {
    // Asked before reading, so an entry appended in between wakes the wait at once.
    const more = feed.wait(subject, HEARTBEAT_MS, call.signal);
    const rows = await feed.after(call.account.id, subject, seen, PAGE);
    for (const row of rows) {
      seen = row.seq;
      yield {
        id: String(row.seq),
        event: row.type,
        data: { at: wireTime(row.at), ...(row.payload as object) },
      };
      if (FINAL.has(row.type)) {
        yield { id: String(row.seq), event: "end", data: {} };
        return;
      }
    }
    if (rows.length === PAGE) continue;
    // Resumed at or after its last event: there is nothing more to come.
    if ((await requireSession(db.soft, call.account.id, subject)).ended_at !== null) {
      const missed = await feed.after(call.account.id, subject, seen, 1);
      if (missed.length > 0) continue;
      yield { id: String(seen), event: "end", data: {} };
      return;
    }
    await more;
    if (performance.now() - quietSince >= HEARTBEAT_MS - 100) {
      quietSince = performance.now();
      yield { event: "heartbeat", data: {} };
    }
  }
}
