// SPDX-License-Identifier: Apache-2.0
/**
 * The only file of the proof library that touches the platform's cryptography: a build for another
 * platform replaces this file and no other. Everything here is total on well-sized input.
 */
import { createHmac, createPublicKey, hash, type KeyObject, verify } from "node:crypto";

/** SHA-256; text is hashed as its UTF-8 bytes. */
export function sha256(data: Uint8Array | string): Uint8Array {
  return hash("sha256", data, "buffer");
}

/** SHA-256 as lower-case hex. */
export function sha256Hex(data: Uint8Array | string): string {
  return hash("sha256", data, "hex");
}

export function sha512(data: Uint8Array): Uint8Array {
  return hash("sha512", data, "buffer");
}

/** SHA-512 as lower-case hex; the original's version 1.0 chain is made of these. */
export function sha512Hex(data: Uint8Array | string): string {
  return hash("sha512", data, "hex");
}

export function hmacSha256Hex(key: Uint8Array, data: Uint8Array): string {
  return createHmac("sha256", key).update(data).digest("hex");
}

/** A public key read once, for a key that verifies many signatures. */
export type ImportedKey = KeyObject;

export function importEd25519(spki: Uint8Array): ImportedKey {
  return createPublicKey(pem(spki));
}

/**
 * Pure Ed25519 (RFC 8032) with a public key as SPKI DER or imported. False also for a key that is no
 * point on the curve. Callers refuse other headers, small-order points and non-canonical encodings
 * before: see `keys.ts`.
 */
export function ed25519Verify(
  key: Uint8Array | ImportedKey,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  try {
    return verify(null, message, key instanceof Uint8Array ? pem(key) : key, signature);
  } catch {
    return false;
  }
}

/** For a key used once, PEM is the quickest form: no key object is made. DER and JWK cost 20 to 40 µs more. */
function pem(spki: Uint8Array): string {
  const der = Buffer.from(spki.buffer, spki.byteOffset, spki.byteLength).toString("base64");
  return `-----BEGIN PUBLIC KEY-----\n${der}\n-----END PUBLIC KEY-----\n`;
}
