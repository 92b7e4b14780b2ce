// SPDX-License-Identifier: Apache-2.0
/**
 * All the cryptography that evidence of SEV-SNP needs, from WebCrypto: the same in Node and in a
 * browser. Each answers false for a key or a signature that is none; none throws.
 */
const { subtle } = globalThis.crypto;

const RSA_PSS = { name: "RSA-PSS", hash: "SHA-384" } as const;
const P384 = { name: "ECDSA", namedCurve: "P-384" } as const;
/** The salt is as long as the hash: 57230 names no other, and `isPssSha384` lets no other through. */
const PSS_VERIFY = { name: "RSA-PSS", saltLength: 48 } as const;
const ECDSA_VERIFY = { name: "ECDSA", hash: "SHA-384" } as const;

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

export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await subtle.digest("SHA-256", bytes));
}

export async function sha384(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await subtle.digest("SHA-384", bytes));
}
