// SPDX-License-Identifier: Apache-2.0
/**
 * Takes away what nothing needs any more: uploads past their end, blobs of a repository that no manifest
 * names, empty repositories, and then what no row points at in the store.
 *
 * A push is safe from it: a blob is young when it was pushed, mounted or asked for, and a manifest that
 * comes at the same moment either holds it or finds it gone and says so.
 */
import { sql } from "kysely";
import { collectBlobs, HOLDERS } from "../../blobs/collect.ts";
import type { Deps } from "./deps.ts";
import { chargeOf } from "./room.ts";
import { endUpload } from "./upload-rows.ts";

const BATCH = 200;
/** What a crash left of an upload between its file and its row. */
const STALE_MS = 48 * 3_600_000;

export async function collect(deps: Pick<Deps, "db" | "store" | "registry">): Promise<void> {
  await endUploads(deps);
  await unlinkBlobs(deps);
  await sql`
    delete from registry_repositories r
    where touched_at < now() - make_interval(secs => ${deps.registry.collectAfterMs / 1000})
      and not exists (select from registry_blobs b where b.repository_id = r.id)
      and not exists (select from registry_manifests m where m.repository_id = r.id)
      and not exists (select from registry_uploads u where u.repository_id = r.id)`
    .execute(deps.db.run)
    .catch(inUse);
  await collectBlobs(deps, HOLDERS, deps.registry.collectAfterMs);
  await deps.store.sweep(Math.max(STALE_MS, 2 * deps.registry.uploadMs));
}

async function endUploads({ db, store }: Pick<Deps, "db" | "store">): Promise<void> {
  for (;;) {
    const { rows } = await sql<{ id: string }>`
      select id from registry_uploads
      where expires_at < now() and (held_by is null or held_until < now()) limit ${BATCH}`.execute(db.run);
    for (const { id } of rows) await endUpload({ db, store }, id);
    if (rows.length < BATCH) return;
  }
}

async function unlinkBlobs({ db, registry }: Pick<Deps, "db" | "registry">): Promise<void> {
  const old = sql`b.touched_at < now() - make_interval(secs => ${registry.collectAfterMs / 1000})`;
  for (;;) {
    const { rows } = await sql<{ count: number }>`
      with gone as (
        delete from registry_blobs b using (
          select b.repository_id, b.digest from registry_blobs b
          where ${old} and not exists (
            select from registry_manifest_blobs n where n.repository_id = b.repository_id and n.blob = b.digest)
          limit ${BATCH} for update skip locked) chosen
        where b.repository_id = chosen.repository_id and b.digest = chosen.digest and ${old}
        returning b.repository_id, b.size_bytes
      ),
      freed as (
        update registry_usage u set bytes = u.bytes - sums.bytes
        from (
          select r.account_id, sum(${chargeOf(sql`gone.size_bytes`)}) as bytes
          from gone join registry_repositories r on r.id = gone.repository_id group by r.account_id
        ) sums
        where u.account_id = sums.account_id returning 1
      )
      select count(*) as count, (select count(*) from freed) as accounts from gone`
      .execute(db.run)
      .catch(inUse);
    if ((rows[0]?.count ?? 0) < BATCH) return;
  }
}

/** A row that came to need one of them at this very moment: nothing went, and the next turn tries again. */
function inUse(error: unknown): { rows: { count: number }[] } {
  if ((error as { code?: string }).code !== "23503") throw error;
  return { rows: [] };
}
