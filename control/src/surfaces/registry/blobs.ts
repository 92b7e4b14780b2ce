// SPDX-License-Identifier: Apache-2.0
/** Reading and removing blobs. Rows say who may read what; only then the store is asked. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { deleteBlob, getBlob, headBlob } from "#contract/registry/blobs.ts";
import { byteRangeOf } from "../../blobs/byte-range.ts";
import { digestBytes } from "../../blobs/digest.ts";
import type { Digest } from "../../blobs/port.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { requireDigest, requireRepository } from "./repositories.ts";
import { freeClause } from "./room.ts";

const BYTES = "application/octet-stream";

/** A client that hears yes pushes nothing, so the blob is kept for the manifest that will come. */
export async function head({ db, store }: Deps, call: Call<typeof headBlob>): Promise<Answer> {
  const digest = requireDigest(call.params.digest);
  const repository = await requireRepository(db.soft, call.account.id, call.params.name);
  const { rows } = await sql<{ size_bytes: number }>`
    with touched as (
      update registry_blobs set touched_at = now()
      where repository_id = ${repository.id} and digest = ${digestBytes(digest)} and touched_at < now() - interval '1 minute'
    )
    select size_bytes from registry_blobs
    where repository_id = ${repository.id} and digest = ${digestBytes(digest)}`.execute(db.run);
  // A row whose bytes are lost is healed by a push, which this answer must not prevent.
  if (rows[0] === undefined || (await store.stat(digest)) === null) throw new Fault("registry.blob-unknown");
  return {
    status: 200,
    headers: headersOf(digest, rows[0].size_bytes),
    bytes: new Uint8Array(),
    mediaType: BYTES,
  };
}

export async function get(deps: Deps, call: Call<typeof getBlob>): Promise<Answer> {
  const { db, store, log } = deps;
  const digest = requireDigest(call.params.digest);
  const repository = await requireRepository(db.soft, call.account.id, call.params.name);
  const { rows } = await sql<{ size_bytes: number }>`
    select size_bytes from registry_blobs
    where repository_id = ${repository.id} and digest = ${digestBytes(digest)}`.execute(db.soft);
  if (rows[0] === undefined) throw new Fault("registry.blob-unknown");
  const size = rows[0].size_bytes;
  const range = byteRangeOf(call.headers.range, size);
  const download = await store.get(digest, range ?? undefined);
  if (download === null) {
    log.error({ digest }, "the bytes of a blob are lost");
    throw new Fault("registry.blob-unknown");
  }
  const whole = headersOf(digest, size);
  if (range === null) return { status: 200, headers: whole, download, mediaType: BYTES };
  const { first, last } = range;
  return {
    status: 206,
    headers: {
      ...whole,
      "content-length": String(last - first + 1),
      "content-range": `bytes ${first}-${last}/${size}`,
    },
    ...{ download, mediaType: BYTES },
  };
}

export async function remove({ db }: Deps, call: Call<typeof deleteBlob>): Promise<Answer> {
  const digest = requireDigest(call.params.digest);
  const repository = await requireRepository(db.soft, call.account.id, call.params.name);
  const { rows } = await sql<{ gone: boolean; there: boolean }>`
    with gone as (
      delete from registry_blobs b where repository_id = ${repository.id} and digest = ${digestBytes(digest)}
        and not exists (select from registry_manifest_blobs n where n.repository_id = b.repository_id and n.blob = b.digest)
      returning size_bytes
    ),
    ${freeClause(sql`${repository.account}`)}
    select exists (select from gone) as gone, (select count(*) from freed),
      exists (select from registry_blobs where repository_id = ${repository.id} and digest = ${digestBytes(digest)}) as there`
    .execute(db.run)
    .catch((error: unknown) => {
      // A manifest that came at the same moment.
      throw (error as { code?: string }).code === "23503" ? new Fault("registry.blob-in-use") : error;
    });
  if (!rows[0]!.there) throw new Fault("registry.blob-unknown");
  if (!rows[0]!.gone) throw new Fault("registry.blob-in-use");
  return { status: 202 };
}

const headersOf = (digest: Digest, size: number) => ({
  "docker-content-digest": digest,
  "content-length": String(size),
  "accept-ranges": "bytes",
  etag: `"${digest}"`,
});
