// SPDX-License-Identifier: Apache-2.0
/** Reading the journal of one subject or one account, and waiting for more of it. */
import type { Database } from "../../database/open.ts";
import { JOURNAL_CHANNEL } from "./append.ts";

export interface JournalRow {
  seq: number;
  at: Date;
  type: string;
  payload: unknown;
}

export interface JournalFeed {
  /** Entries of the subject after `seq`, in order. */
  after(account: string, subject: string, seq: number, limit: number): Promise<JournalRow[]>;
  /** Resolves when something may have been appended to this subject or account, or after `timeoutMs`. */
  wait(about: string, timeoutMs: number, signal: AbortSignal): Promise<void>;
}

export async function openFeed(db: Database): Promise<JournalFeed> {
  const waiting = new Map<string, Set<() => void>>();
  await db.listen(JOURNAL_CHANNEL, (payload) => {
    for (const about of payload.split(" ")) for (const wake of waiting.get(about) ?? []) wake();
  });
  return {
    after: async (account, subject, seq, limit) => {
      const rows = await db.run
        .selectFrom("journal")
        .select(["seq", "at", "type", "payload"])
        .where("account_id", "=", account)
        .where("subject", "=", subject)
        .where("seq", ">", seq)
        .orderBy("seq")
        .limit(limit)
        .execute();
      // A number that a crash of the database takes back would be given to something else, which a
      // reader who has seen it never would.
      if (rows.length > 0) await db.settled();
      return rows;
    },
    wait: (about, timeoutMs, signal) =>
      new Promise((resolve) => {
        const set = waiting.get(about) ?? new Set();
        waiting.set(about, set);
        const done = () => {
          clearTimeout(timer);
          signal.removeEventListener("abort", done);
          set.delete(done);
          if (set.size === 0) waiting.delete(about);
          resolve();
        };
        // A notification may be lost while the listener reconnects, so nobody waits on it alone.
        const timer = setTimeout(done, timeoutMs);
        signal.addEventListener("abort", done);
        set.add(done);
        if (signal.aborted) done();
      }),
  };
}
