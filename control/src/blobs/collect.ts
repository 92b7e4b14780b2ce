// SPDX-License-Identifier: Apache-2.0
/**
 * Takes out of the store what no row points at. Safe beside pushes by the rules of `bring.ts`:
 *
 *  A. Condemning is one statement, of rows that nobody touched for `afterMs` and no holder's table has.
 *  B. Whoever pointed at it and committed while that statement waited is seen by the next one, which
 *     pardons: from the condemning on nobody else can come to point at it.
 *  C. Who condemned removes the bytes and then the row; nobody else does, so no late remover meets bytes
 *     that were brought anew. What a dead collector left is taken over after a while.
 */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type { Blobs } from "./bring.ts";
import { digestBytes, digestOf } from "./digest.ts";
import type { Stored } from "./port.ts";

/** A table with a column `digest` that points at blobs. */
export type Holder = "registry_blobs" | "registry_manifests" | "function_versions" | "function_artifacts";

/** Every one there is: what one surface does not need may be another's. */
export const HOLDERS: readonly Holder[] = [
  "registry_blobs",
  "registry_manifests",
  "function_versions",
  "function_artifacts",
];

const BATCH = 500;
const ABANDONED = sql`interval '10 minutes'`;

/** Answers how many blobs went. */
export async function collectBlobs(
  blobs: Blobs,
  holders: readonly Holder[],
  afterMs: number,
): Promise<number> {
  const me = randomUUID();
  const held = sql.join(
    holders.map((table) => sql`exists (select from ${sql.table(table)} h where h.digest = b.digest)`),
    sql` or `,
  );
  let count = 0;
  for (;;) {
    // The conditions stand outside of the choice too: they are looked at again on a row that had to be waited for.
    const { rows } = await sql<{ digest: Buffer }>`
      update blobs b set removing = ${me}, touched_at = now()
      where b.digest in (
          select b.digest from blobs b
          where (b.removing is null and b.touched_at < now() - make_interval(secs => ${afterMs / 1000}) and not (${held}))
             or (b.removing is not null and b.touched_at < now() - ${ABANDONED})
          limit ${BATCH})
        and b.touched_at < now() - case when b.removing is null then make_interval(secs => ${afterMs / 1000}) else ${ABANDONED} end
      returning b.digest`.execute(blobs.db.run);
    await sql`update blobs b set removing = null where removing = ${me} and (${held})`.execute(blobs.db.run);
    const condemned = await sql<{ digest: Buffer }>`
      select digest from blobs where removing = ${me}`.execute(blobs.db.run);
    await removeAll(blobs, me, condemned.rows);
    count += condemned.rows.length;
    if (rows.length < BATCH) return count;
  }
}

/** Files that no row knows, as after a restore of an older database. */
export async function collectStrays(blobs: Blobs): Promise<number> {
  const me = randomUUID();
  let count = 0;
  const remove = async (found: Stored[]) => {
    const { rows } = await sql<{ digest: Buffer }>`
      insert into blobs (digest, size_bytes, removing)
      select digest, size, ${me} from unnest(
        ${found.map(({ digest }) => digestBytes(digest))}::bytea[], ${found.map(({ sizeBytes }) => sizeBytes)}::bigint[]
      ) as found (digest, size)
      on conflict do nothing returning digest`.execute(blobs.db.run);
    await removeAll(blobs, me, rows);
    count += rows.length;
  };
  const batch: Stored[] = [];
  for await (const stored of blobs.store.list()) {
    batch.push(stored);
    if (batch.length === BATCH) await remove(batch.splice(0));
  }
  if (batch.length > 0) await remove(batch);
  return count;
}

async function removeAll({ db, store }: Blobs, me: string, rows: { digest: Buffer }[]): Promise<void> {
  for (const { digest } of rows) {
    await store.remove(digestOf(digest));
    await sql`delete from blobs where digest = ${digest} and removing = ${me}`.execute(db.run);
  }
}
