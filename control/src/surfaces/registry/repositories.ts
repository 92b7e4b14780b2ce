// SPDX-License-Identifier: Apache-2.0
/**
 * Repositories. A name begins with the id of its account, as `acct_…/shop/api`: it means the same image
 * whoever reads it, also in the one image store that all workloads of a host share. Another account's
 * repository is answered like a missing one.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { listRepositories } from "#contract/registry/manifests.ts";
import { DIGEST, NAME_MAX, REPOSITORY, TAG } from "#contract/registry/vocabulary.ts";
import { isDigest } from "../../blobs/digest.ts";
import type { Digest } from "../../blobs/port.ts";
import type { Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";

const REPOSITORIES_MAX = 1_000;

export interface Repository {
  id: number;
  name: string;
  account: string;
}

export async function requireRepository(db: Db, account: string, name: string): Promise<Repository> {
  checkName(name);
  const { rows } = await sql<{ id: number }>`
    select id from registry_repositories where name = ${name} and account_id = ${account}`.execute(db);
  if (rows[0] === undefined) throw new Fault("registry.name-unknown");
  return { id: rows[0].id, name, account };
}

/** The first push makes it. */
export async function openRepository(db: Db, account: string, name: string): Promise<Repository> {
  checkName(name);
  if (!name.startsWith(`${account}/`)) throw new Fault("registry.name-unknown");
  const { rows } = await sql<{ id: number }>`
    insert into registry_repositories (account_id, name)
    select ${account}, ${name}
    where exists (select from registry_repositories where name = ${name})
       or (select count(*) from registry_repositories where account_id = ${account}) < ${REPOSITORIES_MAX}
    on conflict (name) do update set touched_at = now() returning id`.execute(db);
  if (rows[0] === undefined)
    throw new Fault("registry.limit", {
      detail: `An account has at most ${REPOSITORIES_MAX} repositories.`,
    });
  return { id: rows[0].id, name, account };
}

/** For statements of a push, when what they build on was collected at that very moment: the sender begins again. */
export function asPushFault(error: unknown): unknown {
  const gone = (error as { code?: string }).code === "23503";
  return gone ? new Fault("platform.overloaded", {}, { retryAfterSeconds: 1, cause: error }) : error;
}

export async function catalog(
  { db }: Pick<Deps, "db">,
  { account, query }: Call<typeof listRepositories>,
): Promise<Answer> {
  const { rows } = await sql<{ name: string }>`
    select name from registry_repositories
    where account_id = ${account.id} and name > ${query.last ?? ""} collate "C"
    order by name limit ${(query.n ?? 1_000) + 1}`.execute(db.soft);
  const { page, headers } = pageOf(rows, query.n ?? 1_000, "/v2/_catalog");
  return { status: 200, headers, body: { repositories: page } };
}

/** One row more than asked for tells that there is a next page. */
export function pageOf(
  rows: { name: string }[],
  n: number,
  path: string,
): { page: string[]; headers: Record<string, string> } {
  const page = rows.slice(0, n).map(({ name }) => name);
  const more = n > 0 && rows.length > n;
  const link = `<${path}?n=${n}&last=${encodeURIComponent(page.at(-1) ?? "")}>; rel="next"`;
  return { page, headers: more ? { link } : {} };
}

function checkName(name: string): void {
  if (name.length > NAME_MAX || !REPOSITORY.test(name)) throw new Fault("registry.name-invalid");
}

export function requireDigest(text: string | undefined): Digest {
  if (text === undefined || !DIGEST.test(text) || !isDigest(text))
    throw new Fault("blob.digest", { detail: "A digest is sha256: and 64 hexadecimal digits." });
  return text;
}

/** A digest or a tag. */
export function readReference(text: string): { digest: Digest } | { tag: string } {
  if (text.includes(":")) return { digest: requireDigest(text) };
  if (!TAG.test(text)) throw new Fault("registry.manifest-invalid", { detail: "This is no name of a tag." });
  return { tag: text };
}
