// SPDX-License-Identifier: Apache-2.0
/** Money that comes in, or is put right by the operator. The balance is a running sum; see balances. */
import { type RawBuilder, sql } from "kysely";
import type { Db, Tx } from "../../database/open.ts";
import { NOW } from "./meter.ts";

export interface Credit {
  account: string;
  kind: "credit" | "adjustment";
  /** A credit is positive; an adjustment may be either. */
  amountMicros: number;
  /** The payer's own name of it: counts once for each account, however often it is announced. */
  reference: string | null;
  at?: RawBuilder<Date>;
}

/**
 * Clauses `credit_entry` (id; empty when the reference was counted before) and `credited` (balance_micros).
 * Money that comes in ends a warning: if it is not enough, the next metering warns again.
 */
export function creditClauses(
  { account, kind, amountMicros, reference, at = NOW }: Credit,
  when: RawBuilder<unknown> = sql`true`,
): RawBuilder<unknown> {
  if (!Number.isSafeInteger(amountMicros)) throw new RangeError("an amount is a whole number of micro-units");
  return sql`
    credit_entry as (
      insert into money_entries (account_id, kind, amount_micros, reference, at)
      select ${account}, ${kind}, ${amountMicros}::bigint, ${reference}, ${at} where ${when}
      on conflict (account_id, reference) where reference is not null do nothing
      returning id, account_id, amount_micros
    ), credited as (
      insert into balances as b (account_id, balance_micros)
      select account_id, amount_micros from credit_entry
      on conflict (account_id) do update set balance_micros = b.balance_micros + excluded.balance_micros,
        low_since = case when excluded.balance_micros < 0 then b.low_since end,
        low_told = b.low_told and excluded.balance_micros < 0,
        broke_since = case when b.balance_micros + excluded.balance_micros <= 0 then b.broke_since end,
        broke_told = b.broke_told and b.balance_micros + excluded.balance_micros <= 0
      returning balance_micros
    )`;
}

/** The balance after it, or null when the reference was counted before. */
export async function credit(db: Db | Tx, ask: Credit): Promise<number | null> {
  const { rows } = await sql<{ balance_micros: number }>`
    with ${creditClauses(ask)} select balance_micros from credited`.execute(db);
  return rows[0]?.balance_micros ?? null;
}

export interface CreditRow {
  id: number;
  amountMicros: number;
  reference: string | null;
  at: Date;
}

/** Newest first; the next page starts before the last id of this one. */
export async function listCredits(
  db: Db | Tx,
  account: string,
  { limit, before = null }: { limit: number; before?: number | null },
): Promise<CreditRow[]> {
  const { rows } = await sql<CreditRow>`
    select id, amount_micros as "amountMicros", reference, at from money_entries
    where account_id = ${account} and kind = 'credit' and (${before}::bigint is null or id < ${before}::bigint)
    order by id desc limit ${limit}`.execute(db);
  return rows;
}
