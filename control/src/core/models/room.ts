// SPDX-License-Identifier: Apache-2.0
/**
 * What the models of a party may take. Everything that is kept of a model is an artefact, and counted by a
 * trigger in the statement that adds or removes it.
 *
 *  A. Before an upload's bytes are taken it is promised room, in a transaction that holds the row all of its
 *     party's uploads hold, so that many at once get no more than one. A promise that nobody ends ends itself.
 *  B. What is added is looked at again when it is added: conversions make bytes that nobody announced.
 *  C. The row of a party's usage is locked after those of conversions and functions.
 */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Database, Tx } from "../../database/open.ts";

/** An upload takes no longer than this, or loses its promise and is judged at its end alone. */
const PROMISE_S = 6 * 3600;

export interface Promised {
  id: string;
  bytes: number;
}

/** Room for so many bytes; of a length that nobody said (`null`), for what is left, at most `largest`. */
export async function promiseRoom(
  db: Database,
  party: string,
  given: { bytes: number | null; largest: number; most: number | null },
): Promise<Promised> {
  const id = randomUUID();
  const most = given.most ?? Number.MAX_SAFE_INTEGER;
  return db.write(async (tx) => {
    const { rows } = await sql<{ bytes: number }>`
      insert into model_usage as u (party_id) values (${party})
      on conflict (party_id) do update set bytes = u.bytes returning bytes`.execute(tx);
    const { rows: others } = await sql<{ bytes: number }>`
      with old as (delete from model_uploads where party_id = ${party} and expires_at < now())
      select coalesce(sum(bytes), 0)::bigint as bytes from model_uploads
      where party_id = ${party} and expires_at >= now()`.execute(tx);
    const left = most - rows[0]!.bytes - others[0]!.bytes;
    const bytes = given.bytes ?? Math.min(left, given.largest);
    if (bytes > left || left <= 0) throw full(most);
    await sql`
      insert into model_uploads (id, party_id, bytes, expires_at)
      values (${id}, ${party}, ${bytes}, now() + make_interval(secs => ${PROMISE_S}::int))`.execute(tx);
    return { id, bytes };
  });
}

export async function endPromise(db: Database, { id }: Promised): Promise<void> {
  await sql`delete from model_uploads where id = ${id}`.execute(db.run);
}

/** B. After the artefact was added, in its transaction. */
export async function requireRoom(tx: Tx, party: string, most: number | null): Promise<void> {
  if (most === null) return;
  const { rows } = await sql<{ bytes: number }>`
    select bytes from model_usage where party_id = ${party}`.execute(tx);
  if ((rows[0]?.bytes ?? 0) > most) throw full(most);
}

export const full = (most: number): Fault => new Fault("models.full", { limit: most });
