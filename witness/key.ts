// SPDX-License-Identifier: Apache-2.0
/**
 * The key of a witness: a file of its folder, PKCS #8, for its owner alone, made at the first start. It
 * has no rotation: who pinned it would have to pin another, and that is another witness.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { readFile } from "node:fs/promises";
import { COSIGNATURE, type NoteKey } from "#evidence/log/note.ts";
import { replaceFile } from "#files/replace.ts";

export interface WitnessKey extends NoteKey {
  sign(message: Uint8Array): Uint8Array;
}

/** `name`: a URL without scheme, unique for all time; what it signs has this name. */
export async function openWitnessKey(path: string, name: string): Promise<WitnessKey> {
  let key: KeyObject;
  try {
    key = createPrivateKey(await readFile(path));
    if (key.asymmetricKeyType !== "ed25519") throw new Error("it is no Ed25519 key");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT")
      throw new Error(`${path} does not hold the key of a witness: ${(cause as Error).message}`, { cause });
    key = generateKeyPairSync("ed25519").privateKey;
    await replaceFile(path, key.export({ format: "pem", type: "pkcs8" }));
  }
  const raw = Buffer.from(createPublicKey(key).export({ format: "jwk" }).x!, "base64url");
  return { name, type: COSIGNATURE, raw, sign: (message) => sign(null, message, key) };
}
