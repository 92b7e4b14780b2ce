// SPDX-License-Identifier: Apache-2.0
/** Tags of a repository, and the manifests that speak of another one. */
import { sql } from "kysely";
import type { listReferrers, listTags } from "#contract/registry/manifests.ts";
import { OCI_INDEX } from "#contract/registry/vocabulary.ts";
import { digestBytes, digestOf } from "../../blobs/digest.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { pageOf, requireDigest, requireRepository } from "./repositories.ts";

const TAGS_MAX = 1_000;
const REFERRERS_MAX = 50;

export async function list({ db }: Pick<Deps, "db">, call: Call<typeof listTags>): Promise<Answer> {
  const { name } = call.params;
  const repository = await requireRepository(db.soft, call.account.id, name);
  const n = Math.min(call.query.n ?? TAGS_MAX, TAGS_MAX);
  const { rows } = await sql<{ name: string }>`
    select name from registry_tags
    where repository_id = ${repository.id} and name > ${call.query.last ?? ""} collate "C"
    order by name limit ${n + 1}`.execute(db.soft);
  const { page, headers } = pageOf(rows, n, `/v2/${name}/tags/list`);
  return { status: 200, headers, body: { name, tags: page } };
}

interface ReferrerRow {
  digest: Buffer;
  media_type: string;
  size_bytes: number;
  artifact_type: string | null;
  annotations: Record<string, string> | null;
}

/** An unknown subject has no referrers, which is an empty list and no error. */
export async function referrers({ db }: Pick<Deps, "db">, call: Call<typeof listReferrers>): Promise<Answer> {
  const { name } = call.params;
  const { artifactType, last } = call.query;
  const subject = requireDigest(call.params.digest);
  const repository = await requireRepository(db.soft, call.account.id, name);
  const after = last === undefined ? null : digestBytes(requireDigest(last));
  const { rows } = await sql<ReferrerRow>`
    select digest, media_type, size_bytes, artifact_type, annotations from registry_manifests
    where repository_id = ${repository.id} and subject = ${digestBytes(subject)}
      and (${artifactType ?? null}::text is null or artifact_type = ${artifactType ?? null})
      and (${after}::bytea is null or digest > ${after}::bytea)
    order by digest limit ${REFERRERS_MAX + 1}`.execute(db.soft);
  const page = rows.slice(0, REFERRERS_MAX);
  const filter = artifactType === undefined ? "" : `artifactType=${encodeURIComponent(artifactType)}&`;
  const next = rows.length > page.length ? digestOf(page.at(-1)!.digest) : null;
  const index = {
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: page.map((row) => ({
      mediaType: row.media_type,
      digest: digestOf(row.digest),
      size: row.size_bytes,
      ...(row.artifact_type === null ? {} : { artifactType: row.artifact_type }),
      ...(row.annotations === null ? {} : { annotations: row.annotations }),
    })),
  };
  return {
    status: 200,
    headers: {
      ...(artifactType === undefined ? {} : { "oci-filters-applied": "artifactType" }),
      ...(next === null
        ? {}
        : { link: `</v2/${name}/referrers/${subject}?${filter}last=${next}>; rel="next"` }),
    },
    ...{ bytes: Buffer.from(JSON.stringify(index)), mediaType: OCI_INDEX },
  };
}
