// SPDX-License-Identifier: Apache-2.0
/**
 * The only file of the proof library that touches the platform's cryptography: a build for another
 * platform replaces this file and no other. Everything here is total on well-sized input.
 */
import { createHmac, hash, verify } from "node:crypto";

/** SHA-256; text is hashed as its UTF-8 bytes. */
export function sha256(data: Uint8Array | string): Uint8Array {
  return hash("sha256", data, "buffer");
}

/** SHA-256 as lower-case hex. */
export function sha256Hex(data: Uint8Array | string): string {
  return hash("sha256", data, "hex");
}

/** SHA-512 as lower-case hex; the original's version 1.0 chain is made of these. */
export function sha512Hex(data: Uint8Array | string): string {
  return hash("sha512", data, "hex");
}

export function hmacSha256Hex(key: Uint8Array, data: Uint8Array): string {
  return createHmac("sha256", key).update(data).digest("hex");
}

/** Bytes of an Ed25519 SPKI before the 32 bytes of the key. */
const SPKI_HEADER = 12;

/**
 * Pure Ed25519 (RFC 8032) with a public key as 44 bytes of SPKI DER. False also for a key that is no
 * point on the curve. Callers refuse other headers, small-order points and non-canonical encodings
 * before: see `keys.ts`.
 */
export function ed25519Verify(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  // Handed over as JWK: having the same key read from DER costs another tenth of a verification.
  const raw = Buffer.from(spki.buffer, spki.byteOffset + SPKI_HEADER, spki.byteLength - SPKI_HEADER);
  const key = { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") };
  try {
    return verify(null, message, { key, format: "jwk" }, signature);
  } catch {
    return false;
  }
}
