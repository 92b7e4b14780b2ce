// SPDX-License-Identifier: Apache-2.0
/**
 * When an instance is counted: from the statement that makes it ready until somebody wants it to end or to stop, or it
 * ended by itself; and again from when it was accepted anew. Each interval is opened and closed by the statement that makes it so, so
 * that none is opened twice. One whose machine fell and is brought up again is counted on: nobody stopped it.
 *
 * A database's clock that is set back closes none before it began, and opens none before the last one's end.
 */
import { type RawBuilder, sql } from "kysely";
import type { Db } from "../../database/open.ts";

/** Clause `period`, for the instance in clause `subject`; nothing while one is open. */
export const OPEN_PERIOD = sql`
  period as (
    insert into instance_periods (instance_id, from_at)
    select subject.id, greatest(now(), (
      select max(p.to_at) + interval '1 microsecond' from instance_periods p where p.instance_id = subject.id))
    from subject on conflict (instance_id) where to_at is null do nothing
  )`;

/** Clause `period_over`, for the instance in clause `subject`; nothing when none is open. */
export const CLOSE_PERIOD = sql`
  period_over as (
    update instance_periods p set to_at = greatest(now(), p.from_at)
    from subject where p.instance_id = subject.id and p.to_at is null
  )`;

/**
 * A wish for the end, or for a stop, that waited for the statement that made its instance ready does not see the interval which that one
 * opened: it asked before there was one. So it is asked again.
 */
export const closeLeftOpen = (db: Db, instance: string): Promise<unknown> =>
  closeWhere(db, sql`p.instance_id = ${instance}`);

/** The same of whoever died before they could ask again. */
export const closeAllLeftOpen = (db: Db): Promise<unknown> => closeWhere(db, sql`true`);

const closeWhere = (db: Db, which: RawBuilder<unknown>): Promise<unknown> =>
  sql`
  update instance_periods p set to_at = greatest(now(), p.from_at) from instances i
  where ${which} and p.to_at is null and i.id = p.instance_id
    and (i.status in ('terminating', 'terminated') or i.power in ('stopping', 'stopped'))`.execute(db);
