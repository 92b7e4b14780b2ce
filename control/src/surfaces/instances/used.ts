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

/** One for each window, in their order. Of calls that are too old to be kept one by one there are sums of days (inference/calls.ts): those that lie in it. */
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
      (coalesce(sum(c.cost_micros), 0) + past.cost_micros)::bigint as "inferenceMicros",
      (coalesce(sum(c.input_tokens), 0) + past.input_tokens)::bigint as "inputTokens",
      (coalesce(sum(c.output_tokens), 0) + past.output_tokens)::bigint as "outputTokens"
    from unnest(${starts}::timestamptz[], ${ends}::timestamptz[]) with ordinality as w (from_at, to_at, place)
    cross join lateral (
      select coalesce(sum(p.cost_micros), 0) as cost_micros, coalesce(sum(p.input_tokens), 0) as input_tokens,
        coalesce(sum(p.output_tokens), 0) as output_tokens
      from instances i join inference_past p on p.instance_id = i.id
      where i.account_id = ${account} and (${instance}::text is null or i.id = ${instance})
        and p.day::timestamp at time zone 'UTC' >= w.from_at and (p.day + 1)::timestamp at time zone 'UTC' <= w.to_at
    ) past
    left join inference_calls c on c.account_id = ${account} and (${instance}::text is null or c.instance_id = ${instance})
      and c.ended_at >= w.from_at and c.ended_at < w.to_at
    group by w.place, w.from_at, w.to_at, past.cost_micros, past.input_tokens, past.output_tokens order by w.place`.execute(
    db,
  );
  return rows;
}
