// SPDX-License-Identifier: Apache-2.0
/** Artefacts: listed, and read by whoever sees their model. They never change, so a tag of theirs is their digest. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/models/conversions.ts";
import { digestOf } from "../../blobs/digest.ts";
import { serveBlob } from "../../blobs/serve.ts";
import type { Actor } from "../../core/identity/index.ts";
import { functionSeen } from "../../core/models/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { paged } from "../../http/paging.ts";
import type { ModelsDeps } from "./deps.ts";
import { type ArtifactRow, artifactJson, artifactView, requireFunction } from "./rows.ts";

export async function list({ db }: ModelsDeps, call: Call<typeof contract.listArtifacts>): Promise<Answer> {
  const row = await requireFunction(db.run, call.actor, call.params.uuid);
  const { rows } = await sql<{ artifact: ArtifactRow }>`
    select ${artifactJson} as artifact from function_artifacts a
    where a.function_id = ${row.id} and a.number = ${call.query.Version ?? row.latest}
    order by a.created_at, a.id`.execute(db.run);
  return paged(
    rows.map(({ artifact }) => artifactView(artifact)),
    rows.length,
  );
}

interface Found {
  media_type: string;
  digest: Buffer;
  size_bytes: number;
  signature: Buffer;
  key_id: string;
}

async function requireArtifact({ db }: ModelsDeps, actor: Actor, id: string): Promise<Found> {
  const { rows } = await sql<Found>`
    select a.media_type, a.digest, a.size_bytes, a.signature, a.key_id
    from function_artifacts a join functions f on f.id = a.function_id
    where a.id = ${id} and ${functionSeen(actor)}`.execute(db.run);
  if (rows[0] === undefined) throw new Fault("function.artifact-not-found", { uuid: id });
  return rows[0];
}

const headersOf = ({ digest, size_bytes, signature, key_id, media_type }: Found) => ({
  etag: `"${digestOf(digest)}"`,
  "content-length": String(size_bytes),
  "accept-ranges": "bytes",
  "x-artifact-media-type": media_type,
  "x-artifact-signature": signature.toString("base64"),
  "x-artifact-key": key_id,
});

export async function head(deps: ModelsDeps, call: Call<typeof contract.headArtifact>): Promise<Answer> {
  const found = await requireArtifact(deps, call.actor, call.params.uuid);
  return {
    status: 200,
    headers: headersOf(found),
    bytes: new Uint8Array(),
    mediaType: "application/octet-stream",
  };
}

export async function content(deps: ModelsDeps, call: Call<typeof contract.getArtifact>): Promise<Answer> {
  const found = await requireArtifact(deps, call.actor, call.params.uuid);
  const digest = digestOf(found.digest);
  const blob = { digest, sizeBytes: found.size_bytes, headers: headersOf(found) };
  const served = await serveBlob(deps.store, blob, call.headers);
  if (served?.status === 304) throw new Fault("request.not-modified");
  if (served !== null) return served;
  deps.log.error({ digest }, "the bytes of an artefact are lost");
  throw new Fault("function.artifact-not-found", { uuid: call.params.uuid });
}

export async function keys({ keys: signing }: ModelsDeps): Promise<Answer> {
  return { status: 200, body: { keys: await signing.list() } };
}
