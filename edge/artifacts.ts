// SPDX-License-Identifier: Apache-2.0
/**
 * Bringing artefacts here. Nothing is loaded that was not signed for this model, this version and this
 * kind by a key of the control plane: a store or a proxy in between can only withhold.
 *
 *  A. Bytes go into a `.part` file, which a later try goes on with; under its digest a file is whole, and
 *     was checked.
 *  B. Keys are those that were there when the server was let in. Later ones are taken from the control plane
 *     over the same authenticated connection.
 */
import { createHash, createPublicKey, verify } from "node:crypto";
import { createReadStream, existsSync, renameSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { Away, mayPass } from "./away.ts";
import { type Client, refusalOf } from "./client.ts";
import { type Folder, syncFolder } from "./folder.ts";
import type { ManifestArtifact } from "./wish.ts";

/** Of which none brought a byte. */
const TRIES = 5;

export type Keys = ReadonlyMap<string, { kty: string; crv: string; x: string }>;

export async function fetchKeys(client: Client): Promise<Keys> {
  const reply = await client.json("GET", "/cpt/keys");
  if (reply.status !== 200) {
    const why = `the keys of artefacts cannot be read: ${refusalOf(reply)}`;
    throw mayPass(reply.status) ? new Away(why) : new Error(why);
  }
  const { keys } = reply.body as { keys: { kid: string; kty: string; crv: string; x: string }[] };
  return new Map(keys.map(({ kid, kty, crv, x }) => [kid, { kty, crv, x }]));
}

/** The six lines that are signed; see GET /cpt/keys. */
export function isSigned(artifact: ManifestArtifact, keys: Keys): boolean {
  const { SHA256, Size, MediaType, Function: model, Version } = artifact;
  const key = keys.get(artifact.KeyID);
  if (key === undefined) return false;
  const statement = `${["casemate-artifact/1", SHA256, Size, MediaType, model, Version].join("\n")}\n`;
  const publicKey = createPublicKey({ key: { ...key }, format: "jwk" });
  return verify(null, Buffer.from(statement), publicKey, Buffer.from(artifact.Signature, "base64"));
}

/** Resolves when the artefact is there whole. */
export async function provide(
  { client, folder, keys, signal }: { client: Client; folder: Folder; keys: Keys; signal: AbortSignal },
  artifact: ManifestArtifact,
): Promise<void> {
  const path = folder.artifactPath(artifact.SHA256);
  if (!isSigned(artifact, keys))
    throw new Error(`the artefact ${artifact.UUID} is not signed by the control plane`);
  if (existsSync(path)) return;
  const part = `${path}.part`;
  for (let tries = 1; ; tries++) {
    const before = sizeOf(part);
    try {
      await goOn(client, artifact, part, signal);
      break;
    } catch (error) {
      if (signal.aborted || tries >= TRIES) throw error;
      if (sizeOf(part) > before) tries = 0;
    }
  }
  const digest = createHash("sha256");
  await pipeline(createReadStream(part), digest);
  if (digest.digest("hex") !== artifact.SHA256) {
    rmSync(part, { force: true });
    throw new Error(`the bytes of the artefact ${artifact.UUID} are not those that were signed`);
  }
  renameSync(part, path);
  syncFolder(folder.artifacts);
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** A */
async function goOn(
  client: Client,
  { URL: path, UUID, Size }: ManifestArtifact,
  part: string,
  signal: AbortSignal,
): Promise<void> {
  const have = sizeOf(part);
  if (have === Size) return;
  const from = have < Size ? have : 0;
  const response = await client.bytes(path, from, signal);
  const { statusCode = 0 } = response;
  if (statusCode !== 200 && statusCode !== 206) {
    response.destroy();
    const why = `the artefact ${UUID} cannot be read: ${statusCode}`;
    throw mayPass(statusCode) ? new Away(why) : new Error(why);
  }
  const begins = statusCode === 206 ? from : 0;
  const file = await open(part, begins > 0 ? "a" : "w", 0o600);
  try {
    // Chunk by chunk, so that what came before a cut stays.
    let size = begins;
    for await (const chunk of response) {
      size += (chunk as Buffer).length;
      if (size > Size) throw new Error(`the artefact ${UUID} is larger than was signed`);
      await file.write(chunk as Buffer);
    }
    if (size !== Size) throw new Away(`the artefact ${UUID} was cut off`);
    await file.sync();
  } finally {
    await file.close();
  }
}
