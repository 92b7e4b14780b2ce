// SPDX-License-Identifier: Apache-2.0
/**
 * The journal: what happened to an account, append only.
 *
 *  A. `seq` is given under the account's row lock and the lock is held to commit, so sequence order
 *     is commit order: a reader that has seen n never meets a smaller one later, and an SSE stream
 *     resumed after n skips nothing.
 *  B. head(n) = SHA-256(head(n−1) ‖ int8(n) ‖ payload_hash), payload_hash = SHA-256(salt ‖ payload).
 *     The chain runs over salted hashes: a payload can be erased and the chain still holds, and nobody
 *     can confirm a guess of what was erased.
 *  C. No secret and no body of a client goes into a payload.
 */
import { createHash, randomBytes } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import type { Tx } from "../../database/open.ts";

export interface JournalEntry {
  account: string;
  type: string;
  /** The resource it is about; its readers filter by this. */
  subject: string;
  payload: Record<string, unknown>;
}

/** Members that only the statement itself knows. */
export type ComputedEntry = Omit<JournalEntry, "account" | "type" | "subject"> &
  Record<"account" | "type" | "subject", RawBuilder<unknown>>;

/** Says `account subject` of each entry: a hint, which may be lost. */
export const JOURNAL_CHANNEL = "casemate_journal";

/** Appends and returns the sequence number. Takes the account's lock: call it late in the transaction. */
export async function append(tx: Tx, entry: JournalEntry): Promise<number> {
  const { rows } = await sql<{
    seq: number;
  }>`with ${appendClauses(entry, sql`true`)} select seq from entry`.execute(tx);
  return rows[0]!.seq;
}

/** The same as clauses `numbered`, `entry` of a larger statement that appends only where `condition` holds. */
export function appendClauses(
  entry: JournalEntry | ComputedEntry,
  condition: RawBuilder<unknown>,
): RawBuilder<unknown> {
  const salt = randomBytes(16);
  const text = JSON.stringify(entry.payload);
  const payloadHash = createHash("sha256").update(salt).update(text).digest();
  return sql`
    numbered as (
      update accounts
      set journal_seq = journal_seq + 1,
          journal_head = sha256(journal_head || int8send(journal_seq + 1) || ${payloadHash}::bytea)
      where id = ${entry.account} and ${condition}
      returning journal_seq, journal_head
    ), entry as (
      insert into journal (account_id, seq, type, subject, payload, salt, payload_hash, head)
      select ${entry.account}, journal_seq, ${entry.type}, ${entry.subject}, ${text}::json, ${salt}::bytea, ${payloadHash}::bytea, journal_head
      from numbered
      returning seq, pg_notify(${JOURNAL_CHANNEL}, account_id || ' ' || subject)
    )`;
}
