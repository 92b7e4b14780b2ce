// SPDX-License-Identifier: Apache-2.0
/**
 * All the cryptography that evidence needs, from WebCrypto: the same in Node and in a browser. Each answers false for a key or a signature that is none; none throws.
 */
import { concatBytes } from "./bytes.ts";

const { subtle } = globalThis.crypto;

const RSA_PSS = { name: "RSA-PSS", hash: "SHA-384" } as const;
const P384 = { name: "ECDSA", namedCurve: "P-384" } as const;
const P256 = { name: "ECDSA", namedCurve: "P-256" } as const;
/** The salt is as long as the hash: 57230 names no other, and `algorithm.ts` lets no other through. */
const PSS_VERIFY = { name: "RSA-PSS", saltLength: 48 } as const;
const ECDSA_VERIFY = { name: "ECDSA", hash: "SHA-384" } as const;
const ECDSA_SHA256 = { name: "ECDSA", hash: "SHA-256" } as const;

/** RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt. */
export async function rsaPssVerify(spki: Uint8Array, message: Uint8Array, signature: Uint8Array) {
  try {
    const key = await subtle.importKey("spki", spki, RSA_PSS, false, ["verify"]);
    return await subtle.verify(PSS_VERIFY, key, signature, message);
  } catch {
    return false;
  }
}

/** ECDSA on P-384 with SHA-384. The signature is r and s, 48 bytes each, most significant byte first. */
export async function ecdsaP384Verify(spki: Uint8Array, message: Uint8Array, signature: Uint8Array) {
  try {
    const key = await subtle.importKey("spki", spki, P384, false, ["verify"]);
    return await subtle.verify(ECDSA_VERIFY, key, signature, message);
  } catch {
    return false;
  }
}

/** ECDSA on P-256 with SHA-256, in the same form: r and s, 32 bytes each. */
export async function ecdsaP256Verify(spki: Uint8Array, message: Uint8Array, signature: Uint8Array) {
  try {
    const key = await subtle.importKey("spki", spki, P256, false, ["verify"]);
    return await subtle.verify(ECDSA_SHA256, key, signature, message);
  } catch {
    return false;
  }
}

/** The same under a key that comes as its point alone: x and y, 32 bytes each. */
export async function ecdsaP256PointVerify(point: Uint8Array, message: Uint8Array, signature: Uint8Array) {
  try {
    const key = await subtle.importKey("raw", concatBytes(Uint8Array.of(4), point), P256, false, ["verify"]);
    return await subtle.verify(ECDSA_SHA256, key, signature, message);
  } catch {
    return false;
  }
}

/**
 * RSA with SHA-256 under a bare modulus with exponent 65537. PSS as a TPM makes it: with as much salt as the hash
 * has bytes, or as much as fits; both are in the world.
 */
export async function rsaSha256Verify(
  modulus: Uint8Array,
  padding: "pkcs1" | "pss",
  message: Uint8Array,
  signature: Uint8Array,
) {
  try {
    const n = btoa(String.fromCharCode(...modulus))
      .replace(/\+/g, "-")
      .replace(/\//g, "_")
      .replace(/=+$/, "");
    const name = padding === "pss" ? "RSA-PSS" : "RSASSA-PKCS1-v1_5";
    const jwk = { kty: "RSA", n, e: "AQAB" };
    const key = await subtle.importKey("jwk", jwk, { name, hash: "SHA-256" }, false, ["verify"]);
    if (padding === "pkcs1") return await subtle.verify(name, key, signature, message);
    for (const saltLength of [32, modulus.length - 34])
      if (await subtle.verify({ name, saltLength }, key, signature, message)) return true;
    return false;
  } catch {
    return false;
  }
}

/** RSASSA-PKCS1-v1_5 with SHA-256. */
export async function rsaPkcs1Verify(spki: Uint8Array, message: Uint8Array, signature: Uint8Array) {
  try {
    const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
    const key = await subtle.importKey("spki", spki, algorithm, false, ["verify"]);
    return await subtle.verify(algorithm.name, key, signature, message);
  } catch {
    return false;
  }
}

export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await subtle.digest("SHA-256", bytes));
}

export async function sha384(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await subtle.digest("SHA-384", bytes));
}
