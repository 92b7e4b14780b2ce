// SPDX-License-Identifier: Apache-2.0
/**
 * Quotas. A counter is taken with one conditional upsert, so parallel callers, in this process or
 * another, queue on its row and never pass the limit. Every change of a counter is also an entry,
 * unique per machine, quota and reason: a repeated report changes nothing twice.
 */
import { type RawBuilder, sql } from "kysely";
import type { Tx } from "../../database/open.ts";

/** A quota of what is held now has no period of its own. */
export const HELD = new Date(0);
const UNLIMITED = 2_147_483_647;

export interface Take {
  quota: string;
  period: Date;
  /** null is unlimited. */
  limit: number | null;
}

/**
 * Clauses `<name>` (one row when it was taken) and `<name>_entry` for a larger statement. The caller
 * must roll back when a take returned no row.
 */
export function takeClauses(
  name: string,
  account: string,
  machine: string,
  take: Take,
  when: RawBuilder<unknown>,
): RawBuilder<unknown> {
  const clause = sql.raw(name);
  const limit = take.limit ?? UNLIMITED;
  return sql`
    ${clause} as (
      insert into quota_counters (account_id, quota, period, used)
      select ${account}, ${take.quota}, ${take.period}, 1 where ${limit}::int > 0 and ${when}
      on conflict (account_id, quota, period)
      do update set used = quota_counters.used + 1 where quota_counters.used < ${limit}::int
      returning used
    ), ${sql.raw(`${name}_entry`)} as (
      insert into ledger_entries (account_id, machine_id, quota, period, reason, quantity)
      select ${account}, ${machine}, ${take.quota}, ${take.period}, 'reserved', 1 from ${clause}
    )`;
}

/** What was reserved has been used for good: the counter keeps it. */
export const settle = (tx: Tx, machine: string, quota: string) => conclude(tx, machine, quota, "settled", 0);
/** What was reserved is given back. */
export const release = (tx: Tx, machine: string, quota: string) =>
  conclude(tx, machine, quota, "released", -1);

async function conclude(
  tx: Tx,
  machine: string,
  quota: string,
  reason: string,
  quantity: number,
): Promise<void> {
  await sql`
    with held as (
      select account_id, period from ledger_entries
      where machine_id = ${machine} and quota = ${quota} and reason = 'reserved'
    ), entry as (
      insert into ledger_entries (account_id, machine_id, quota, period, reason, quantity)
      select account_id, ${machine}, ${quota}, period, ${reason}, ${quantity}::int from held
      on conflict (machine_id, quota, reason) do nothing
      returning account_id, period
    )
    update quota_counters c set used = c.used + ${quantity}::int from entry e
    where c.account_id = e.account_id and c.quota = ${quota} and c.period = e.period`.execute(tx);
}

export async function usedOf(
  db: Pick<Tx, "selectFrom">,
  account: string,
  quota: string,
  period: Date,
): Promise<number> {
  const row = await db
    .selectFrom("quota_counters")
    .select("used")
    .where("account_id", "=", account)
    .where("quota", "=", quota)
    .where("period", "=", period)
    .executeTakeFirst();
  return row?.used ?? 0;
}
