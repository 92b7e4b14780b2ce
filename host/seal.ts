// SPDX-License-Identifier: Apache-2.0
/**
 * Authenticated encryption of what the host and its signer leave on disk: AES-256-GCM, a random
 * 96-bit nonce per sealing, the place it belongs to as associated data, so that a thief with write
 * access to the folder cannot pass one machine's record off as another's.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

export const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

class SealFault extends Error {}

export function seal(key: Uint8Array, place: string, plain: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(place));
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

export function unseal(key: Uint8Array, place: string, sealed: Uint8Array): Buffer {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) throw new SealFault(`${place} is too short to be sealed`);
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, NONCE_BYTES))
    .setAAD(Buffer.from(place))
    .setAuthTag(sealed.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch (error) {
    throw new SealFault(`${place} was changed, or sealed under another key`, { cause: error });
  }
}

/** One key per purpose out of one key file. */
export function deriveKey(root: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", root, new Uint8Array(0), purpose, KEY_BYTES));
}
