// SPDX-License-Identifier: Apache-2.0
/**
 * `evidence/proofs/primitives.ts` for a browser: the same functions, which the bundler puts in that file's place. WebCrypto
 * answers later and has Ed25519 in some browsers only; these answer at once and everywhere.
 *
 * Both builds must agree on every signature there is, or a document could be valid on one screen and not on the
 * other. Libraries differ where points of small order are mixed in: so the equation is the one without
 * the cofactor, compared as bytes, as OpenSSL does it.
 */
import { ed25519 } from "@noble/curves/ed25519.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 as noble256, sha512 as noble512 } from "@noble/hashes/sha2.js";
import { equalBytes } from "../evidence/bytes.ts";
import { toHex, utf8 } from "../evidence/proofs/encoding.ts";

const bytesOf = (data: Uint8Array | string) => (typeof data === "string" ? utf8(data) : data);

export function sha256(data: Uint8Array | string): Uint8Array {
  return noble256(bytesOf(data));
}

export function sha256Hex(data: Uint8Array | string): string {
  return toHex(sha256(data));
}

export function sha512(data: Uint8Array): Uint8Array {
  return noble512(data);
}

export function sha512Hex(data: Uint8Array | string): string {
  return toHex(noble512(bytesOf(data)));
}

export function hmacSha256Hex(key: Uint8Array, data: Uint8Array): string {
  return toHex(hmac(noble256, key, data));
}

const { Point } = ed25519;
/** A point, with its bytes, which are hashed. */
export interface ImportedKey {
  raw: Uint8Array;
  point: InstanceType<typeof Point>;
}

const SPKI_BYTES = 44;
const KEY_BYTES = 32;

/** Throws for what is no point. */
export function importEd25519(spki: Uint8Array): ImportedKey {
  if (spki.length !== SPKI_BYTES) throw new TypeError("not the SPKI form of an Ed25519 key");
  const raw = spki.slice(SPKI_BYTES - KEY_BYTES);
  return { raw, point: Point.fromBytes(raw, false) };
}

export function ed25519Verify(
  key: Uint8Array | ImportedKey,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  try {
    if (signature.length !== 64) return false;
    const { raw, point } = key instanceof Uint8Array ? importEd25519(key) : key;
    const [r, s] = [signature.subarray(0, 32), littleEndian(signature.subarray(32))];
    if (s >= Point.Fn.ORDER) return false;
    const hashed = new Uint8Array(64 + message.length);
    hashed.set(r);
    hashed.set(raw, 32);
    hashed.set(message, 64);
    const k = littleEndian(noble512(hashed)) % Point.Fn.ORDER;
    const computed = Point.BASE.multiplyUnsafe(s).subtract(point.multiplyUnsafe(k));
    return equalBytes(computed.toBytes(), r);
  } catch {
    return false;
  }
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let index = bytes.length - 1; index >= 0; index--) value = (value << 8n) | BigInt(bytes[index]!);
  return value;
}
