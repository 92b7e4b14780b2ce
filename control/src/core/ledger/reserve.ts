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

/**
 * Clause `<name>` (a row when the reservation was concluded now) for a statement whose clause `machine`
 * names the machine that is over. `released` gives back what was reserved; `settled` keeps it, for it
 * was used for good.
 */
export function concludeClauses(
  name: string,
  quota: string,
  reason: "settled" | "released",
): RawBuilder<unknown> {
  const clause = (suffix: string) => sql.raw(`${name}${suffix}`);
  const quantity = reason === "released" ? -1 : 0;
  const concluded = sql`
    ${clause("_entry")} as (
      insert into ledger_entries (account_id, machine_id, quota, period, reason, quantity)
      select l.account_id, l.machine_id, l.quota, l.period, ${reason}, ${quantity}::int
      from ledger_entries l join machine on l.machine_id = machine.id
      where l.quota = ${quota} and l.reason = 'reserved'
      on conflict (machine_id, quota, reason) do nothing
      returning account_id, period
    )`;
  if (quantity === 0) return sql`${concluded}, ${clause("")} as (select from ${clause("_entry")})`;
  return sql`${concluded}, ${clause("")} as (
      update quota_counters c set used = c.used + ${quantity}::int from ${clause("_entry")} e
      where c.account_id = e.account_id and c.quota = ${quota} and c.period = e.period
      returning c.used
    )`;
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
