// SPDX-License-Identifier: Apache-2.0
/**
 * Uploads in the database: whose they are, who writes to one now, what they reserved.
 *
 *  A. Database time decides when one ends and how long a writer is believed. A writer says again and
 *     again that it lives, and a process that starts takes back what an earlier life of it held.
 *  B. How far an upload came is the store's to say; no row repeats it.
 */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Deps } from "./deps.ts";
import { asPushFault, type Repository } from "./repositories.ts";

const UPLOADS_MAX = 100;
const HELD = sql`interval '30 seconds'`;
const SAY_AGAIN_MS = 10_000;

export interface Upload {
  id: string;
  account: string;
  repository: Repository;
  reserved: number;
}

type Needs = Pick<Deps, "db" | "store" | "registry" | "replica">;

export async function beginUpload({ db, store, registry }: Needs, repository: Repository): Promise<string> {
  const id = await store.begin();
  const { rows } = await sql`
    insert into registry_uploads (id, repository_id, expires_at)
    select ${id}, ${repository.id}::bigint, now() + make_interval(secs => ${registry.uploadMs / 1000})
    where (select count(*) from registry_uploads u join registry_repositories r on r.id = u.repository_id
           where r.account_id = ${repository.account}) < ${UPLOADS_MAX}
    returning id`
    .execute(db.run)
    .catch(async (error: unknown) => {
      await store.drop(id);
      throw asPushFault(error);
    });
  if (rows.length === 1) return id;
  await store.drop(id);
  throw new Fault("registry.limit", { detail: `At most ${UPLOADS_MAX} uploads may be open at a time.` });
}

/** Runs `work` as the only writer of an upload. */
export async function holdUpload<T>(
  deps: Needs,
  repository: Repository,
  id: string,
  work: (upload: Upload) => Promise<T>,
): Promise<T> {
  const holder = `${deps.replica}:${randomUUID()}`;
  const held = sql`held_by = ${holder}, held_until = now() + ${HELD},
    expires_at = now() + make_interval(secs => ${deps.registry.uploadMs / 1000})`;
  const { rows } = await sql<{ reserved_bytes: number }>`
    update registry_uploads set ${held}
    where id = ${id} and repository_id = ${repository.id} and expires_at > now()
      and (held_by is null or held_until < now())
    returning reserved_bytes`.execute(deps.db.run);
  if (rows[0] === undefined) {
    await requireUpload(deps, repository, id);
    throw new Fault("blob.upload-busy", {}, { retryAfterSeconds: 1 });
  }
  const again = setInterval(() => {
    sql`update registry_uploads set ${held} where id = ${id} and held_by = ${holder}`
      .execute(deps.db.soft)
      .catch(() => {});
  }, SAY_AGAIN_MS);
  try {
    return await work({ id, account: repository.account, repository, reserved: rows[0].reserved_bytes });
  } finally {
    clearInterval(again);
    await sql`update registry_uploads set held_by = null where id = ${id} and held_by = ${holder}`
      .execute(deps.db.soft)
      .catch(() => {});
  }
}

export async function requireUpload({ db }: Needs, repository: Repository, id: string): Promise<void> {
  const { rows } = await sql`
    select id from registry_uploads
    where id = ${id} and repository_id = ${repository.id} and expires_at > now()`.execute(db.run);
  if (rows.length === 0) throw new Fault("blob.upload-unknown");
}

/** The row and what it reserved, then the bytes. */
export async function endUpload({ db, store }: Pick<Deps, "db" | "store">, id: string): Promise<boolean> {
  const { rows } = await sql`
    with ended as (
      delete from registry_uploads u using registry_repositories r
      where u.id = ${id} and r.id = u.repository_id returning u.reserved_bytes, r.account_id
    ),
    freed as (
      update registry_usage set bytes = bytes - ended.reserved_bytes
      from ended where registry_usage.account_id = ended.account_id returning 1
    )
    select account_id from ended, (select count(*) from freed) f`.execute(db.run);
  await store.drop(id);
  return rows.length === 1;
}

export async function takeBackUploads({ db, replica }: Pick<Deps, "db" | "replica">): Promise<void> {
  await sql`update registry_uploads set held_by = null where starts_with(held_by, ${`${replica}:`})`.execute(
    db.run,
  );
}
