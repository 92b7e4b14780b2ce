// SPDX-License-Identifier: Apache-2.0
/**
 * Ed25519 from a 32-byte seed in a Buffer of ours, which its owner fills with zeros after use. What
 * Node cannot wipe is OpenSSL's own copy inside a KeyObject: it is cleared when the object is
 * collected, at a time nobody chooses. The proof says so (`signing_key_outlives_proof`).
 */
import { createPrivateKey, createPublicKey, sign } from "node:crypto";

export const SEED_BYTES = 32;

/** PKCS #8 for Ed25519 up to the seed. */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

function privateKeyOf(seed: Uint8Array) {
  const der = Buffer.concat([PKCS8_PREFIX, seed]);
  try {
    return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  } finally {
    der.fill(0);
  }
}

export function signWith(seed: Uint8Array, message: Uint8Array): Uint8Array {
  return sign(null, message, privateKeyOf(seed));
}

/** SPKI DER, 44 bytes. */
export function publicKeyOf(seed: Uint8Array): Uint8Array {
  return createPublicKey(privateKeyOf(seed)).export({ format: "der", type: "spki" });
}
