// SPDX-License-Identifier: Apache-2.0
/** What the servers of a site can run, as they said: of those that are there and do run pipelines. */
import { type RawBuilder, sql } from "kysely";

/** A server that was not heard of for this long is offline; it asks for its state every half minute. */
export const ONLINE_S = 75;

/** Media types, of the runtime that each server is to use, or uses. */
export const siteTargets = (site: string): RawBuilder<unknown> => sql`
  select jsonb_array_elements_text(coalesce(
      (select each from jsonb_array_elements(sv.facts->'AvailableRuntimes') each
        where each->>'Name' = sv.runtime_wanted limit 1),
      sv.facts->'Runtime', sv.facts->'AvailableRuntimes'->0)->'Targets')
  from servers sv
  where sv.site_id = ${site} and sv.last_seen > now() - make_interval(secs => ${sql.lit(ONLINE_S)})
    and coalesce((sv.facts->'Supports'->>'Pipelines')::boolean, false)`;
