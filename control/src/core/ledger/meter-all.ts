// SPDX-License-Identifier: Apache-2.0
/**
 * Charging everything that runs, a batch of accounts in one statement. Any number of replicas may do it at
 * once: rows that another holds are left to it or to the next turn, so this waits for nobody, and what
 * never waits is part of no deadlock. A crash before the commit charges nothing, and the next turn all of it.
 *
 * Low and broke are judged here and nowhere else, anew each time: `low_since` and `broke_since` say since
 * when, the `told` beside them whether somebody has made it known (shortage.ts).
 */
import { type RawBuilder, sql } from "kysely";
import type { Db, Tx } from "../../database/open.ts";
import { NOW, pieceClauses } from "./meter.ts";
import type { Notice } from "./shortage.ts";

export interface MeterTurn {
  /** Accounts of one statement. Call again while as many were metered. */
  limit: number;
  /** An account metered less than this ago is left alone: more replicas make no more entries. */
  afterMs: number;
  /** The balance is low when it covers less than this of what the account has up. */
  lowMs: number;
  at?: RawBuilder<Date>;
  /** Until when a machine is known to have run, by the columns of `x`, its row; at most, and by default, `at`. */
  until?: RawBuilder<Date>;
}

export interface Metered {
  accounts: number;
  /** What nobody was told yet; the same again next time until `noticeClause` says that it was. */
  notices: Notice[];
}

export async function meterAll(
  db: Db | Tx,
  { limit, afterMs, lowMs, at = NOW, until = at }: MeterTurn,
): Promise<Metered> {
  const held = sql`
    select m.*, false as released, ${until} as until
    from meters m join due on m.account_id = due.account_id join machines x on x.id = m.machine_id
    where m.state = 'running' for update of m skip locked`;
  const low = sql`(b.balance_micros - s.micros) * 60000::numeric < b.rate_micros_per_min * ${lowMs}::bigint`;
  const broke = sql`b.balance_micros <= s.micros`;
  const { rows } = await sql<MeteredRow>`
    with due as (
      select account_id from balances
      where rate_micros_per_min > 0 and metered_at <= ${at} - ${afterMs}::bigint * interval '1 millisecond'
      order by metered_at limit ${limit} for update skip locked
    ), ${pieceClauses(held, at)},
    meter_moved as (
      update meters m set meter_to = p.to_at, metered_micros = m.metered_micros + p.micros
      from meter_piece p where m.machine_id = p.machine_id and p.micros > 0
    )
    update balances b set balance_micros = b.balance_micros - s.micros, metered_at = ${at},
      low_since = case when ${low} then coalesce(b.low_since, ${at}) end, low_told = b.low_told and ${low},
      broke_since = case when ${broke} then coalesce(b.broke_since, ${at}) end, broke_told = b.broke_told and ${broke}
    from (
      select due.account_id, coalesce(sum(p.micros), 0)::bigint as micros
      from due left join meter_piece p on p.account_id = due.account_id group by due.account_id
    ) s where b.account_id = s.account_id
    returning b.account_id as account, b.balance_micros as "balanceMicros",
      b.rate_micros_per_min as "rateMicrosPerMin",
      b.low_since is not null and not b.low_told as low,
      b.broke_since is not null and not b.broke_told as broke`.execute(db);
  const notices = rows.flatMap(({ low, broke, ...about }) => [
    ...(low ? [{ ...about, kind: "low" as const }] : []),
    ...(broke ? [{ ...about, kind: "broke" as const }] : []),
  ]);
  return { accounts: rows.length, notices };
}

type MeteredRow = Omit<Notice, "kind"> & { low: boolean; broke: boolean };
