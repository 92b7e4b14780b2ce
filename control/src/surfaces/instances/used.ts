// SPDX-License-Identifier: Apache-2.0
/** What was used in stretches of time, from the rows that were written when it happened. */
import { sql } from "kysely";
import type { Db } from "../../database/open.ts";
import type { Window } from "./cycles.ts";

export interface Used {
  ms: number;
  inferenceMicros: number;
  inputTokens: number;
  outputTokens: number;
}

export interface UsedAsk {
  account: string;
  /** Null: all of the account's. */
  instance: string | null;
  windows: readonly Window[];
  /** The database's clock at the request: an interval that is open is counted until then. */
  now: Date;
}

/** One for each window, in their order. */
export async function usedIn(db: Db, { account, instance, windows, now }: UsedAsk): Promise<Used[]> {
  const starts = windows.map(({ start }) => start.toISOString());
  const ends = windows.map(({ end }) => end.toISOString());
  const { rows } = await sql<Used>`
    select
      (select coalesce(sum(greatest(0, extract(epoch from
          least(coalesce(p.to_at, ${now.toISOString()}::timestamptz), w.to_at) - greatest(p.from_at, w.from_at)) * 1000)), 0)::bigint
        from instance_periods p join instances i on i.id = p.instance_id
        where i.account_id = ${account} and (${instance}::text is null or i.id = ${instance})
          and p.from_at < w.to_at and (p.to_at is null or p.to_at > w.from_at)) as ms,
      coalesce(sum(c.cost_micros), 0)::bigint as "inferenceMicros",
      coalesce(sum(c.input_tokens), 0)::bigint as "inputTokens",
      coalesce(sum(c.output_tokens), 0)::bigint as "outputTokens"
    from unnest(${starts}::timestamptz[], ${ends}::timestamptz[]) with ordinality as w (from_at, to_at, place)
    left join inference_calls c on c.account_id = ${account} and (${instance}::text is null or c.instance_id = ${instance})
      and c.ended_at >= w.from_at and c.ended_at < w.to_at
    group by w.place, w.from_at, w.to_at order by w.place`.execute(db);
  return rows;
}
