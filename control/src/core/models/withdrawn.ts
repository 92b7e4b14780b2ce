// SPDX-License-Identifier: Apache-2.0
/**
 * Models that are given up. What only their owner's devices could run goes at once; what others run is
 * withdrawn: nobody sees it any more, nobody can take it into a pipeline, and who runs it runs on.
 *
 *  A. Its bytes stay until no device and no rollout names it, and at most for `KEPT`: nobody holds another's room for ever.
 *  B. Locks: conversions, then the function, as everywhere (tasks.ts, C). A pipeline that is saved meanwhile
 *     waits for the function, and finds it withdrawn.
 */
import { sql } from "kysely";
import type { Database, Tx } from "../../database/open.ts";

const KEPT = sql`interval '90 days'`;
const BATCH = 20;

export type Removed = "deleted" | "withdrawn" | "deployed" | "absent";

export async function removeFunction(tx: Tx, party: string, id: string): Promise<Removed> {
  await lockWork(tx, id);
  const { rows } = await sql`
    select 1 from functions where id = ${id} and party_id = ${party} and withdrawn_at is null for update`.execute(
    tx,
  );
  if (rows.length === 0) return "absent";
  const { rows: used } = await sql<{ own: boolean }>`
    select d.party_id = ${party} as own from device_models m join devices d on d.id = m.device_id
    where m.function_id = ${id}
    union select r.party_id = ${party} from rollout_models m join rollouts r on r.id = m.rollout_id
    where m.function_id = ${id}`.execute(tx);
  if (used.some(({ own }) => own)) return "deployed";
  if (used.length === 0) {
    await sql`delete from functions where id = ${id}`.execute(tx);
    return "deleted";
  }
  await sql`delete from catalogue_functions where function_id = ${id}`.execute(tx);
  await sql`
    update functions set withdrawn_at = now(), version = version + 1 where id = ${id}`.execute(tx);
  return "withdrawn";
}

/** A. Answers how many went. */
export async function sweepWithdrawn(db: Database): Promise<number> {
  const due = sql`f.withdrawn_at is not null and (f.withdrawn_at < now() - ${KEPT}
    or not exists (select from device_models m where m.function_id = f.id)
      and not exists (select from rollout_models m where m.function_id = f.id))`;
  const { rows } = await sql<{ id: string }>`
    select f.id from functions f where ${due} order by f.withdrawn_at limit ${BATCH}`.execute(db.run);
  for (const { id } of rows)
    await db.write(async (tx) => {
      await lockWork(tx, id);
      const still = await sql`select 1 from functions f where f.id = ${id} and ${due} for update`.execute(tx);
      if (still.rows.length === 0) return;
      await sql`delete from device_models where function_id = ${id}`.execute(tx);
      await sql`delete from rollout_models where function_id = ${id}`.execute(tx);
      await sql`delete from functions where id = ${id}`.execute(tx);
    });
  return rows.length;
}

const lockWork = (tx: Tx, id: string) =>
  sql`select 1 from conversions where function_id = ${id} order by id for update`.execute(tx);
