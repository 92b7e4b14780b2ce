// SPDX-License-Identifier: Apache-2.0
/**
 * What an account's machines hold of disks, running or not: a machine that stands keeps its disk and costs
 * nothing, so without a bound one account could take the disk of every host with the money for one machine,
 * by making and stopping. One counter for each account, taken and given back by the statements that make a
 * workload and delete it, each of which happens once. Locked after hosts and before meters.
 */
import { type RawBuilder, sql } from "kysely";
import type { Tx } from "../../database/open.ts";
import { HELD, usedOf } from "./reserve.ts";

const QUOTA = "disk_gb";
const UNLIMITED = 2_147_483_647;

export interface DiskAsk {
  account: string;
  diskGb: number;
  /** null is unlimited. */
  maxGb: number | null;
}

/** Clause `disk`: a row when it was taken. The caller ends the statement when it was not. */
export function takeDiskClause(
  { account, diskGb, maxGb }: DiskAsk,
  when: RawBuilder<unknown>,
): RawBuilder<unknown> {
  return sql`
    disk as (
      insert into quota_counters as q (account_id, quota, period, used)
      select ${account}, ${QUOTA}, ${HELD}, ${diskGb}::int where ${when} and ${diskGb}::int <= ${maxGb ?? UNLIMITED}::int
      on conflict (account_id, quota, period)
      do update set used = q.used + excluded.used where q.used::bigint + excluded.used <= ${maxGb ?? UNLIMITED}::int
      returning account_id
    )`;
}

/** The same for the clause `item` (account_id, each once; disk_gb), in the order of accounts. */
export function takeEachDiskClause(maxGb: number | null, when: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    disk as (
      insert into quota_counters as q (account_id, quota, period, used)
      select account_id, ${QUOTA}, ${HELD}, disk_gb from item
      where ${when} and disk_gb <= ${maxGb ?? UNLIMITED}::int order by account_id
      on conflict (account_id, quota, period)
      do update set used = q.used + excluded.used where q.used::bigint + excluded.used <= ${maxGb ?? UNLIMITED}::int
      returning account_id
    )`;
}

/** Clause `disk` for a statement whose clause `gone` has account_id and disk_gb of what was deleted in it. */
export const returnDiskClause = (): RawBuilder<unknown> => sql`
  disk as (
    update quota_counters q set used = greatest(q.used - gone.disk_gb, 0) from gone
    where q.account_id = gone.account_id and q.quota = ${QUOTA} and q.period = ${HELD}
    returning q.account_id
  )`;

/** Meters are locked after it. */
export const AFTER_DISK = sql`(select count(*) from disk) >= 0`;

export const diskHeldGb = (db: Pick<Tx, "selectFrom">, account: string): Promise<number> =>
  usedOf(db, account, QUOTA, HELD);
