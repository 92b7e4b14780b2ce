// SPDX-License-Identifier: Apache-2.0
/**
 * An account that runs short is told, once low and once broke; when it stays broke for the grace period,
 * its machines are to be stopped. They are never deleted, and the debt is what ran until they stood.
 *
 * With I the longest time between two meterings of an account, G the grace and S the longest from the end of
 * the grace until a stop is recorded, no balance falls below −(rate in use × (I + G + S)): nothing is
 * admitted without money, so debt grows only from the last metering that found some.
 */
import { type RawBuilder, sql } from "kysely";
import type { Db, Tx } from "../../database/open.ts";
import { NOW } from "./meter.ts";

export interface Notice {
  account: string;
  kind: "low" | "broke";
  balanceMicros: number;
  rateMicrosPerMin: number;
}

/**
 * Clause `notice`: one row when this statement is the one that makes it known, so the journal's entry goes
 * into the same statement and a crash neither loses it nor writes it twice.
 */
export function noticeClause({ account, kind }: Pick<Notice, "account" | "kind">): RawBuilder<unknown> {
  const since = sql.ref(`${kind}_since`);
  const told = sql.ref(`${kind}_told`);
  return sql`
    notice as (
      update balances set ${told} = true
      where account_id = ${account} and ${since} is not null and not ${told}
      returning account_id, balance_micros, rate_micros_per_min
    )`;
}

export interface Grace {
  graceMs: number;
  at?: RawBuilder<Date>;
}

/**
 * The machines whose account has had no money for the grace period, as a subselect (machine_id, account_id):
 * the statement that wishes their stop asks again, so a payment that has just come still saves them.
 */
export function overdueMachines({ graceMs, at = NOW }: Grace): RawBuilder<unknown> {
  return sql`
    select m.machine_id, m.account_id from meters m join balances b on b.account_id = m.account_id
    where b.broke_since <= ${at} - ${graceMs}::bigint * interval '1 millisecond'
      and m.state <> 'idle' and m.rate_micros_per_min > 0`;
}

/** In no order: those that cannot be stopped just now, their host being away, must not stand before the rest. */
export async function listOverdue(
  db: Db | Tx,
  { limit, ...grace }: Grace & { limit: number },
): Promise<{ account: string; machine: string }[]> {
  const { rows } = await sql<{ account: string; machine: string }>`
    select account_id as account, machine_id as machine from (${overdueMachines(grace)}) overdue
    order by random() limit ${limit}`.execute(db);
  return rows;
}
