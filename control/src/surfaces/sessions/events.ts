// SPDX-License-Identifier: Apache-2.0
/** A session's events as they are journalled. Always ends with a terminal event when the session does. */
import { Fault } from "#contract/errors.ts";
import type { sessionEvents } from "#contract/sessions/read.ts";
import { findCheckpoint } from "../../core/journal/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { followEvents, lastEventId } from "../../http/event-stream.ts";
import type { Deps } from "./deps.ts";
import { requireSession } from "./rows.ts";
import { wireTime } from "./time.ts";

const FINAL = new Set(["session.destroyed", "session.expired", "session.expired_unclean", "session.failed"]);

export async function events(
  { db, feed }: Pick<Deps, "db" | "feed">,
  call: Call<typeof sessionEvents>,
): Promise<Answer> {
  const { id } = await requireSession(db.soft, call.account.id, call.params.id);
  const resumed = lastEventId(call.headers);
  const from = resumed ?? 0;
  const pruned = (await findCheckpoint(db, call.account.id))?.seq ?? 0;
  // A first read starts with what is left; a resumed one must not skip what it has not seen.
  if (resumed !== undefined && from < pruned) throw new Fault("session.gone-events", { oldest: pruned + 1 });
  const events = followEvents(
    {
      read: (seq, limit) => feed.after(call.account.id, id, seq, limit),
      more: (timeoutMs, signal) => feed.wait(id, timeoutMs, signal),
      show: ({ type, at, payload }) => ({
        event: type,
        data: { at: wireTime(at), ...(payload as object) },
      }),
      isLast: ({ type }) => FINAL.has(type),
      isOver: async () => (await requireSession(db.soft, call.account.id, id)).ended_at !== null,
    },
    from,
    call.signal,
  );
  return { status: 200, events };
}
