// SPDX-License-Identifier: Apache-2.0
/**
 * What an Ed25519 key and signature must look like before any curve arithmetic.
 *
 * The attacker chooses key and signature freely. With a small-order key one signature verifies for
 * many messages; with a non-canonical point or an S of at least the group order, one signature has a
 * second spelling and implementations disagree about it. All of these are refused by their bytes.
 */
import { fromBase64Text } from "./encoding.ts";
import { ed25519Verify, type ImportedKey } from "./primitives.ts";

/** DER of SubjectPublicKeyInfo for Ed25519 up to the 32 key bytes: the only accepted form. */
const SPKI_PREFIX = Uint8Array.of(0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00);
const SPKI_BYTES = 44;
const SIGNATURE_BYTES = 64;

/** The group order L, little endian. */
const ORDER = Uint8Array.of(
  ...[0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14],
  ...[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10],
);

/**
 * The y coordinates of the eight points whose order divides 8, little endian, sign bit clear. Both
 * signs of x have the same order, so y alone decides. The test derives them from the curve equation.
 */
const SMALL_ORDER_Y = new Set([
  `01${"00".repeat(31)}`,
  "00".repeat(32),
  `ec${"ff".repeat(30)}7f`,
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
]);
/** Few points share a first byte with those, so the text form is made for almost none. */
const SMALL_ORDER_FIRST = new Set([0x00, 0x01, 0xec, 0x26, 0xc7]);

export type KeyFault = "malformed" | "weak";

/** True when the 32 bytes encode a point canonically (y < p) and its order is not small. */
export function isSoundPoint(point: Uint8Array): boolean {
  if (point.length !== 32) return false;
  const top = point[31]! & 0x7f;
  if (top === 0x7f && point[0]! >= 0xed && point.subarray(1, 31).every((byte) => byte === 0xff)) return false;
  if (!SMALL_ORDER_FIRST.has(point[0]!)) return true;
  let y = "";
  for (let index = 0; index < 32; index++) {
    y += (index === 31 ? top : point[index]!).toString(16).padStart(2, "0");
  }
  return !SMALL_ORDER_Y.has(y);
}

/** True when S, the second half, is below the group order. */
function hasReducedS(signature: Uint8Array): boolean {
  for (let index = 31; index >= 0; index--) {
    const difference = signature[32 + index]! - ORDER[index]!;
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** The SPKI bytes of `base64:…`. */
export function readPublicKey(text: string): Uint8Array | KeyFault {
  const spki = fromBase64Text(text);
  if (spki?.length !== SPKI_BYTES) return "malformed";
  for (let index = 0; index < SPKI_PREFIX.length; index++) {
    if (spki[index] !== SPKI_PREFIX[index]) return "malformed";
  }
  return isSoundPoint(spki.subarray(SPKI_PREFIX.length)) ? spki : "weak";
}

/** The SPKI form of a raw 32-byte key, or why not. */
export function spkiOfRaw(raw: Uint8Array): Uint8Array | KeyFault {
  if (raw.length !== 32) return "malformed";
  if (!isSoundPoint(raw)) return "weak";
  const spki = new Uint8Array(SPKI_BYTES);
  spki.set(SPKI_PREFIX);
  spki.set(raw, SPKI_PREFIX.length);
  return spki;
}

/** The 64 signature bytes of `base64:…`. */
export function readSignature(text: string): Uint8Array | KeyFault {
  const signature = fromBase64Text(text);
  if (signature?.length !== SIGNATURE_BYTES) return "malformed";
  return isSoundSignature(signature) ? signature : "weak";
}

/** True for 64 bytes whose R is a sound point and whose S is reduced. */
export function isSoundSignature(signature: Uint8Array): boolean {
  return (
    signature.length === SIGNATURE_BYTES && isSoundPoint(signature.subarray(0, 32)) && hasReducedS(signature)
  );
}

/** Verifies with a key and signature that came from the readers above. */
export function signatureHolds(
  key: Uint8Array | ImportedKey,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  return ed25519Verify(key, message, signature);
}
