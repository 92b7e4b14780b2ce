// SPDX-License-Identifier: Apache-2.0
/** What an account has and what it spends, as of its last metering. */
import { sql } from "kysely";
import type { Db, Tx } from "../../database/open.ts";

/** The sum of the account's entries, in micro-units of USD. */
export async function balanceOf(db: Db | Tx, account: string): Promise<number> {
  const { rows } = await sql<{ balance_micros: number }>`
    select balance_micros from balances where account_id = ${account}`.execute(db);
  return rows[0]?.balance_micros ?? 0;
}

/** The sum of the rates that are running now, in micro-units of USD a minute. */
export async function burnRateOf(db: Db | Tx, account: string): Promise<number> {
  const { rows } = await sql<{ burn: number }>`
    select coalesce(sum(rate_micros_per_min), 0)::bigint as burn from meters
    where account_id = ${account} and state = 'running'`.execute(db);
  return rows[0]!.burn;
}
