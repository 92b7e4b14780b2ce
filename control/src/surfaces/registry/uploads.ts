// SPDX-License-Identifier: Apache-2.0
/**
 * Pushing a blob: in one request, in many, or by mounting one that another repository of the account has.
 * Bytes go from the socket to the store piece by piece; nothing here holds a blob.
 *
 * The attacker knows digests of other accounts' blobs. A mount looks among the repositories of the
 * caller's account only, and an upload that is not of this digest shows its sender nothing.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type {
  deleteUpload,
  finishUpload,
  getUpload,
  patchUpload,
  startUpload,
} from "#contract/registry/blobs.ts";
import { bringUpload, touchClause } from "../../blobs/bring.ts";
import { digestBytes } from "../../blobs/digest.ts";
import type { Digest, Stored } from "../../blobs/port.ts";
import { refusalOf } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { lentChunks } from "../../http/lent-chunks.ts";
import type { Deps } from "./deps.ts";
import {
  asPushFault,
  openRepository,
  type Repository,
  requireDigest,
  requireRepository,
} from "./repositories.ts";
import { chargeOf, full, mostOf, refusal, reserve, usageClause } from "./room.ts";
import { beginUpload, endUpload, holdUpload, requireUpload, type Upload } from "./upload-rows.ts";

const EMPTY = { bytes: new Uint8Array(), mediaType: "application/octet-stream" };

export async function start(deps: Deps, call: Call<typeof startUpload>): Promise<Answer> {
  const { digest, mount, from } = call.query;
  const expected = digest === undefined ? null : requireDigest(digest);
  const repository = await openRepository(deps.db.run, call.account.id, call.params.name);
  if (mount !== undefined) {
    const wanted = requireDigest(mount);
    if (await mounted(deps, repository, wanted, from ?? null)) return created(repository, wanted);
  }
  const id = await beginUpload(deps, repository);
  if (expected === null) return goesOn(repository, id, 0);
  // Whoever pushes in one request was told of no session, so a failed one is not to be resumed.
  return holdUpload(deps, repository, id, async (upload) => {
    await receive(deps, call, upload, 0);
    return complete(deps, upload, expected);
  }).catch(async (error) => {
    await endUpload(deps, id);
    throw error;
  });
}

export async function append(deps: Deps, call: Call<typeof patchUpload>): Promise<Answer> {
  const repository = await requireRepository(deps.db.soft, call.account.id, call.params.name);
  const { upload: id } = call.params;
  return holdUpload(deps, repository, id, async (upload) =>
    goesOn(repository, id, await receive(deps, call, upload, await sizeOf(deps, id))),
  );
}

export async function finish(deps: Deps, call: Call<typeof finishUpload>): Promise<Answer> {
  const digest = requireDigest(call.query.digest);
  const repository = await requireRepository(deps.db.soft, call.account.id, call.params.name);
  const { upload: id } = call.params;
  return holdUpload(deps, repository, id, async (upload) => {
    await receive(deps, call, upload, await sizeOf(deps, id));
    return complete(deps, upload, digest);
  });
}

export async function look(deps: Deps, call: Call<typeof getUpload>): Promise<Answer> {
  const repository = await requireRepository(deps.db.soft, call.account.id, call.params.name);
  await requireUpload(deps, repository, call.params.upload);
  const { headers } = goesOn(repository, call.params.upload, await sizeOf(deps, call.params.upload));
  return { status: 204, headers: headers! };
}

export async function giveUp(deps: Deps, call: Call<typeof deleteUpload>): Promise<Answer> {
  const repository = await requireRepository(deps.db.soft, call.account.id, call.params.name);
  await holdUpload(deps, repository, call.params.upload, ({ id }) => endUpload(deps, id));
  return { status: 204 };
}

async function sizeOf({ store }: Deps, id: string): Promise<number> {
  const size = await store.sizeOfUpload(id);
  if (size === null) throw new Fault("blob.upload-unknown");
  return size;
}

type Sent = Call<typeof startUpload> | Call<typeof patchUpload> | Call<typeof finishUpload>;

/** Takes the body in at `offset`, and answers how much there is then. */
async function receive(deps: Deps, call: Sent, upload: Upload, offset: number): Promise<number> {
  const length = lengthOf(call);
  const end = endOf(call, offset, length);
  if (length === 0) return offset;
  const most = mostOf(deps.registry);
  const expected = length === null ? (end ?? 0) : offset + length;
  // Asked before the first byte: an account that is full need not send a gigabyte to hear of it.
  if (expected > 0) upload.reserved = await reserve(deps.db.run, upload, expected, expected, most);
  const size = await deps.store.append(upload.id, offset, incoming(call), async (sizeBytes) => {
    if (end !== null && sizeBytes > end) throw wrongLength();
    if (sizeBytes > upload.reserved)
      upload.reserved = await reserve(deps.db.run, upload, sizeBytes, expected, most);
  });
  if (end !== null && size !== end) throw wrongLength();
  return size;
}

/** A client that goes away is no fault of ours, whatever the socket calls it. */
async function* incoming({ stream }: Sent): AsyncGenerator<Uint8Array> {
  try {
    yield* lentChunks(stream);
  } catch (cause) {
    throw new Fault("registry.upload-invalid", { detail: "The body broke off." }, { cause });
  }
}

/** Null when the sender does not say. */
function lengthOf({ headers }: Sent): number | null {
  if (headers["transfer-encoding"] !== undefined) return null;
  return Number(headers["content-length"] ?? 0);
}

/** The size that the upload has after this chunk, when the sender says where the chunk belongs. */
function endOf({ headers }: Sent, offset: number, length: number | null): number | null {
  const range = headers["content-range"];
  if (range === undefined) return null;
  const [, first, last] = /^(?:bytes )?(\d{1,15})-(\d{1,15})(?:\/(?:\d+|\*))?$/.exec(range) ?? [];
  if (first === undefined || Number(last) < Number(first))
    throw new Fault("registry.upload-invalid", { detail: "Content-Range must be <first byte>-<last byte>." });
  if (Number(first) !== offset)
    throw new Fault("blob.range", { detail: `The upload has ${offset} bytes, so it goes on there.` });
  const end = Number(last) + 1;
  if (length !== null && offset + length !== end) throw wrongLength();
  return end;
}

const wrongLength = () =>
  new Fault("blob.size", { detail: "The body has another length than Content-Range says." });

/** The bytes are held against the digest, become a blob, and the repository gets it. */
async function complete(deps: Deps, upload: Upload, digest: Digest): Promise<Answer> {
  const stored = await deps.store.hash(upload.id);
  if (stored.digest !== digest) {
    await endUpload(deps, upload.id);
    throw new Fault("blob.digest", { detail: `The digest of these bytes is ${stored.digest}.` });
  }
  await bringUpload(deps, upload.id, stored);
  await link(deps, upload, stored);
  return created(upload.repository, digest);
}

/** What was reserved goes back, what the blob counts is taken; of an upload it was never less. */
async function link({ db }: Deps, upload: Upload, { digest }: Stored): Promise<void> {
  const { rows } = await sql<{ linked: boolean }>`
    with ${touchClause(sql`${digestBytes(digest)}`)},
    upload as (
      delete from registry_uploads where id = ${upload.id} and exists (select from blob) returning reserved_bytes
    ),
    link as (
      insert into registry_blobs (repository_id, digest, size_bytes)
      select ${upload.repository.id}::bigint, digest, size_bytes from blob where exists (select from upload)
      on conflict (repository_id, digest) do update set touched_at = now()
      returning size_bytes, xmax = 0 as fresh
    ),
    usage as (
      insert into registry_usage as u (account_id, bytes)
      select ${upload.account}, ${chargeOf(sql`size_bytes`)} from link where fresh and (select reserved_bytes from upload) = 0
      on conflict (account_id) do update set bytes = u.bytes + excluded.bytes returning 1
    ),
    settled as (
      update registry_usage set bytes = bytes - upload.reserved_bytes
        + (select coalesce(sum(${chargeOf(sql`size_bytes`)}), 0) from link where fresh)
      from upload where account_id = ${upload.account} and upload.reserved_bytes > 0 returning 1
    )
    select exists (select from link) as linked, (select count(*) from usage), (select count(*) from settled)`.execute(
    db.run,
  );
  if (!rows[0]!.linked) throw new Fault("blob.upload-unknown");
}

async function mounted(
  { db, registry }: Deps,
  repository: Repository,
  digest: Digest,
  from: string | null,
): Promise<boolean> {
  const most = mostOf(registry);
  const { rows } = await sql<{ mounted: boolean }>`
    with source as (
      select b.digest from registry_blobs b join registry_repositories r on r.id = b.repository_id
      where r.account_id = ${repository.account} and b.digest = ${digestBytes(digest)}
        and (${from}::text is null or r.name = ${from}) limit 1
    ),
    ${touchClause(sql`(select digest from source)`)},
    link as (
      insert into registry_blobs (repository_id, digest, size_bytes)
      select ${repository.id}::bigint, digest, size_bytes from blob
      on conflict (repository_id, digest) do update set touched_at = now()
      returning size_bytes, xmax = 0 as fresh
    ),
    fresh as (select size_bytes from link where fresh),
    ${usageClause(repository.account, most)}
    select exists (select from link) as mounted, ${refusal}`
    .execute(db.run)
    .catch((error: unknown) => {
      throw refusalOf(error) === "limit" ? full(most) : asPushFault(error);
    });
  return rows[0]!.mounted;
}

const created = ({ name }: Repository, digest: Digest): Answer => ({
  status: 201,
  headers: { location: `/v2/${name}/blobs/${digest}`, "docker-content-digest": digest },
  ...EMPTY,
});

/** Range as registries write it: what is there, both ends included, and `0-0` of nothing. */
const goesOn = ({ name }: Repository, id: string, size: number): Answer => ({
  status: 202,
  headers: {
    location: `/v2/${name}/blobs/uploads/${id}`,
    range: `0-${Math.max(0, size - 1)}`,
    "docker-upload-uuid": id,
  },
  ...EMPTY,
});
