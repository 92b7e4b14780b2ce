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
import { hash } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import type { Tx } from "../../database/open.ts";
import { pooledBytes } from "../random.ts";

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

/** Invariant B's payload hash, and what it was made of. */
export function saltPayload(payload: JournalEntry["payload"]) {
  const salt = pooledBytes(16);
  const text = JSON.stringify(payload);
  return { salt, text, payloadHash: hash("sha256", Buffer.concat([salt, Buffer.from(text)]), "buffer") };
}

/**
 * The same for one entry of each of several accounts: the clause `item` has account_id (each once),
 * subject, entry_text, entry_salt and entry_hash. Accounts are locked in the order of their ids.
 */
export function appendEachClauses(type: string, condition: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    holder as (
      select id from accounts where id in (select account_id from item) and ${condition} order by id for update
    ), numbered as (
      update accounts a
      set journal_seq = a.journal_seq + 1,
          journal_head = sha256(a.journal_head || int8send(a.journal_seq + 1) || item.entry_hash)
      from item join holder on holder.id = item.account_id where a.id = item.account_id
      returning a.id as account_id, a.journal_seq, a.journal_head
    ), entry as (
      insert into journal (account_id, seq, type, subject, payload, salt, payload_hash, head)
      select item.account_id, journal_seq, ${type}, subject, entry_text::json, entry_salt, entry_hash, journal_head
      from item join numbered on numbered.account_id = item.account_id
      returning seq, pg_notify(${JOURNAL_CHANNEL}, account_id || ' ' || subject)
    )`;
}

/** The same as clauses `numbered`, `entry` of a larger statement that appends only where `condition` holds. */
export function appendClauses(
  entry: JournalEntry | ComputedEntry,
  condition: RawBuilder<unknown>,
): RawBuilder<unknown> {
  const { salt, text, payloadHash } = saltPayload(entry.payload);
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
