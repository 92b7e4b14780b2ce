// SPDX-License-Identifier: Apache-2.0
/** Pushing, reading and removing manifests and the tags that name them. Each change is in the journal. */
import { createHash } from "node:crypto";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { deleteManifest, getManifest, headManifest, putManifest } from "#contract/registry/manifests.ts";
import { MANIFEST_MAX } from "#contract/registry/vocabulary.ts";
import { bringBytes, touchClause } from "../../blobs/bring.ts";
import { digestBytes, digestOf } from "../../blobs/digest.ts";
import type { Digest } from "../../blobs/port.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { type Db, refusalOf } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { type ManifestDocument, type Part, readManifest } from "./manifest-document.ts";
import {
  asPushFault,
  openRepository,
  type Repository,
  readReference,
  requireRepository,
} from "./repositories.ts";
import { freeClause, full, mostOf, refusal, usageClause } from "./room.ts";

interface Found {
  digest: Digest;
  mediaType: string;
  sizeBytes: number;
}

export async function head(deps: Deps, call: Call<typeof headManifest>): Promise<Answer> {
  const { headers, mediaType } = shown(await find(deps, call));
  return { status: 200, headers, bytes: new Uint8Array(), mediaType };
}

export async function get(deps: Deps, call: Call<typeof getManifest>): Promise<Answer> {
  const found = await find(deps, call);
  const download = await deps.store.get(found.digest);
  if (download === null) {
    deps.log.error({ digest: found.digest }, "the bytes of a manifest are lost");
    throw new Fault("registry.manifest-unknown");
  }
  return { status: 200, ...shown(found), download };
}

const shown = ({ digest, mediaType, sizeBytes }: Found) => ({
  headers: {
    "docker-content-digest": digest,
    "content-length": String(sizeBytes),
    etag: `"${digest}"`,
  },
  mediaType,
});

async function find(
  { db }: Deps,
  call: Call<typeof headManifest> | Call<typeof getManifest>,
): Promise<Found> {
  const repository = await requireRepository(db.soft, call.account.id, call.params.name);
  const reference = readReference(call.params.reference);
  const digest =
    "digest" in reference
      ? sql`${digestBytes(reference.digest)}`
      : sql`(select manifest from registry_tags where repository_id = ${repository.id} and name = ${reference.tag})`;
  const { rows } = await sql<{ digest: Buffer; media_type: string; size_bytes: number }>`
    select digest, media_type, size_bytes from registry_manifests
    where repository_id = ${repository.id} and digest = ${digest}`.execute(db.soft);
  if (rows[0] === undefined) throw new Fault("registry.manifest-unknown");
  return {
    digest: digestOf(rows[0].digest),
    mediaType: rows[0].media_type,
    sizeBytes: rows[0].size_bytes,
  };
}

export async function put(deps: Deps, call: Call<typeof putManifest>): Promise<Answer> {
  const { raw: bytes, params, account } = call;
  const reference = readReference(params.reference);
  if (bytes.length > MANIFEST_MAX) throw new Fault("request.too-large", { limit: MANIFEST_MAX });
  const digest: Digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  if ("digest" in reference && reference.digest !== digest)
    throw new Fault("blob.digest", { detail: `The digest of this manifest is ${digest}.` });
  const document = readManifest(bytes, call.headers["content-type"]);
  const repository = await openRepository(deps.db.run, account.id, params.name);
  await requireParts(deps.db.run, repository, document);
  await bringBytes(deps, bytes, { digest, sizeBytes: bytes.length });
  const tag = "tag" in reference ? reference.tag : null;
  await record(deps, repository, document, { digest, sizeBytes: bytes.length }, tag);
  return {
    status: 201,
    headers: {
      location: `/v2/${repository.name}/manifests/${digest}`,
      "docker-content-digest": digest,
      ...(document.subject === null ? {} : { "oci-subject": document.subject }),
    },
    ...{ bytes: new Uint8Array(), mediaType: "application/octet-stream" },
  };
}

/** Names the first that is missing; `record` looks again, where nothing can change any more. */
async function requireParts(db: Db, repository: Repository, document: ManifestDocument): Promise<void> {
  for (const [table, parts] of [
    ["registry_blobs", document.blobs],
    ["registry_manifests", document.manifests],
  ] as const) {
    const { rows } = await sql<{ digest: Buffer; size_bytes: number }>`
      select digest, size_bytes from ${sql.table(table)}
      where repository_id = ${repository.id} and digest = any(${digests(parts)}::bytea[])`.execute(db);
    const there = new Map(rows.map((row) => [digestOf(row.digest), row.size_bytes]));
    for (const { digest, sizeBytes } of parts) {
      const size = there.get(digest);
      if (size === undefined) throw new Fault("registry.manifest-blob-unknown", { digest });
      if (size !== sizeBytes)
        throw new Fault("registry.manifest-invalid", {
          detail: `The manifest is refused: ${digest} has ${size} bytes.`,
        });
    }
  }
}

const digests = (parts: readonly Part[]): Buffer[] => parts.map(({ digest }) => digestBytes(digest));

async function record(
  { db, registry }: Deps,
  repository: Repository,
  document: ManifestDocument,
  { digest, sizeBytes }: Part,
  tag: string | null,
): Promise<void> {
  const most = mostOf(registry);
  const bytes = digestBytes(digest);
  const { subject, artifactType, annotations, mediaType } = document;
  const entry = {
    account: repository.account,
    type: "registry.pushed",
    subject: repository.name,
    payload: { digest, ...(tag === null ? {} : { tag }) },
  };
  const { rows } = await sql<{ recorded: boolean }>`
    with ${touchClause(sql`${bytes}`)},
    needed as (
      -- Held until this is committed: whoever collects them meanwhile waits, and finds them in use.
      select digest from registry_blobs
      where repository_id = ${repository.id} and digest = any(${digests(document.blobs)}::bytea[])
      order by digest for key share
    ),
    manifest as (
      insert into registry_manifests (repository_id, digest, size_bytes, media_type, subject, artifact_type, annotations)
      select ${repository.id}::bigint, digest, ${sizeBytes}::bigint, ${mediaType},
        ${subject === null ? null : digestBytes(subject)}::bytea, ${subject === null ? null : artifactType}::text,
        ${annotations === null ? null : JSON.stringify(annotations)}::json
      from blob where (select count(*) from needed) = ${document.blobs.length}::int
      on conflict (repository_id, digest) do update set media_type = excluded.media_type
      returning size_bytes, xmax = 0 as fresh
    ),
    fresh as (select size_bytes from manifest where fresh),
    needs as (
      insert into registry_manifest_blobs (repository_id, manifest, blob)
      select ${repository.id}::bigint, ${bytes}, digest from needed where exists (select from manifest)
      on conflict do nothing
    ),
    tag as (
      insert into registry_tags (repository_id, name, manifest)
      select ${repository.id}::bigint, ${tag}::text, ${bytes} from manifest where ${tag}::text is not null
      on conflict (repository_id, name) do update set manifest = excluded.manifest, updated_at = now()
    ),
    ${usageClause(repository.account, most)},
    ${appendClauses(entry, sql`exists (select from manifest) and (select count(*) from usage) >= 0`)}
    select exists (select from manifest) as recorded, (select count(*) from entry), ${refusal}`
    .execute(db.run)
    .catch((error: unknown) => {
      throw refusalOf(error) === "limit" ? full(most) : asPushFault(error);
    });
  // Something was removed between the two looks.
  if (!rows[0]!.recorded) throw new Fault("platform.overloaded", {}, { retryAfterSeconds: 1 });
}

export async function remove({ db }: Deps, call: Call<typeof deleteManifest>): Promise<Answer> {
  const repository = await requireRepository(db.soft, call.account.id, call.params.name);
  const reference = readReference(call.params.reference);
  const about = { account: repository.account, subject: repository.name };
  const gone =
    "tag" in reference
      ? await sql<{ gone: boolean }>`
          with gone as (
            delete from registry_tags where repository_id = ${repository.id} and name = ${reference.tag} returning manifest
          ),
          ${appendClauses(
            { ...about, type: "registry.untagged", payload: { tag: reference.tag } },
            sql`exists (select from gone)`,
          )}
          select exists (select from gone) as gone, (select count(*) from entry)`.execute(db.run)
      : await sql<{ gone: boolean }>`
          with gone as (
            delete from registry_manifests
            where repository_id = ${repository.id} and digest = ${digestBytes(reference.digest)} returning size_bytes
          ),
          ${freeClause(sql`${repository.account}`)},
          ${appendClauses(
            { ...about, type: "registry.removed", payload: { digest: reference.digest } },
            sql`exists (select from gone) and (select count(*) from freed) >= 0`,
          )}
          select exists (select from gone) as gone, (select count(*) from entry)`.execute(db.run);
  if (!gone.rows[0]!.gone) throw new Fault("registry.manifest-unknown");
  return { status: 202 };
}
