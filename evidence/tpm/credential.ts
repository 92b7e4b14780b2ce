// SPDX-License-Identifier: Apache-2.0
/**
 * A credential that only the TPM with a certain endorsement key can open, and only if it also holds the key
 * of a certain name (TPM 2.0 Library, part 1, "Credential Protection", annexes B and C). Who gets the
 * secret back knows that both keys live in one TPM: nothing in a quote says that by itself. Pure: the
 * random parts come from WebCrypto.
 */
import { concatBytes } from "../bytes.ts";
import { sized, TpmFault, u32 } from "./wire.ts";

const { subtle } = globalThis.crypto;

export interface Credential {
  /** TPM2B_ID_OBJECT. */
  blob: Uint8Array;
  /** TPM2B_ENCRYPTED_SECRET. */
  encryptedSeed: Uint8Array;
}

const SECRET_BYTES_MAX = 32;
const SEED_BYTES = 32;

/**
 * @param endorsement SubjectPublicKeyInfo of an endorsement key of RSA after the default template (SHA-256, AES-128).
 * @param name Of the key that must be in the same TPM.
 * @example makeCredential(ekCertificate.spki, await nameOf(ak), crypto.getRandomValues(new Uint8Array(32)))
 */
export async function makeCredential(
  endorsement: Uint8Array,
  name: Uint8Array,
  secret: Uint8Array,
): Promise<Credential> {
  if (secret.length === 0 || secret.length > SECRET_BYTES_MAX)
    throw new TpmFault("a credential's secret has 1 to 32 bytes");
  const seed = crypto.getRandomValues(new Uint8Array(SEED_BYTES));
  const algorithm = { name: "RSA-OAEP", hash: "SHA-256" };
  const key = await subtle.importKey("spki", endorsement, algorithm, false, ["encrypt"]);
  const label = new TextEncoder().encode("IDENTITY\0");
  const encrypted = new Uint8Array(await subtle.encrypt({ name: "RSA-OAEP", label }, key, seed));
  const identity = await aesCfb(await derive(seed, "STORAGE", name, 128), sized(secret));
  const hmac = await hmacSha256(
    await derive(seed, "INTEGRITY", new Uint8Array(), 256),
    concatBytes(identity, name),
  );
  return { blob: sized(concatBytes(sized(hmac), identity)), encryptedSeed: sized(encrypted) };
}

/** KDFa with SHA-256 for at most 256 bits: one turn of its counter. */
async function derive(
  seed: Uint8Array,
  label: string,
  context: Uint8Array,
  bits: number,
): Promise<Uint8Array> {
  const message = concatBytes(u32(1), new TextEncoder().encode(`${label}\0`), context, u32(bits));
  return (await hmacSha256(seed, message)).slice(0, bits / 8);
}

async function hmacSha256(key: Uint8Array, message: Uint8Array): Promise<Uint8Array> {
  const imported = await subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await subtle.sign("HMAC", imported, message));
}

const BLOCK_BYTES = 16;

/** AES in CFB mode from a vector of zeros. WebCrypto has no such mode, but CBC over one block encrypts just that block. */
async function aesCfb(key: Uint8Array, plain: Uint8Array): Promise<Uint8Array> {
  const imported = await subtle.importKey("raw", key, "AES-CBC", false, ["encrypt"]);
  const zero = new Uint8Array(BLOCK_BYTES);
  const sealed = Uint8Array.from(plain);
  let previous: Uint8Array = zero;
  for (let at = 0; at < plain.length; at += BLOCK_BYTES) {
    const pad = new Uint8Array(await subtle.encrypt({ name: "AES-CBC", iv: zero }, imported, previous));
    for (let index = 0; index < BLOCK_BYTES && at + index < plain.length; index++)
      sealed[at + index]! ^= pad[index]!;
    previous = sealed.slice(at, at + BLOCK_BYTES);
  }
  return sealed;
}
