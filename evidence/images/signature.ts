// SPDX-License-Identifier: Apache-2.0
/**
 * Who vouches for an image of a virtual machine: the issuer, with the key that also vouches for the keys of proofs. The message says
 * what it is, so that a signature for the one is never one for the other. It means that this installation built these
 * bytes from that lock file. Whether they are any good the lock shows, and a second build elsewhere.
 */
import type { Issuer } from "../proofs/certificate.ts";
import { utf8 } from "../proofs/encoding.ts";
import { readPublicKey, readSignature, signatureHolds } from "../proofs/keys.ts";

/** `image.sig.json`. */
export interface ImageSignature {
  v: 1;
  /** SHA-256 of image.json. */
  metadata_sha256: string;
  issuer_id: string;
  /** `base64:` and 64 bytes. */
  sig: string;
}

/** The bytes an issuer signs. */
export function imageMessage(metadataSha256: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(metadataSha256))
    throw new RangeError("the hash of an image's metadata is 64 lower-case hexadecimal digits");
  return utf8(`casemate/image/1\n${metadataSha256}`);
}

/** Why the signature does not hold for a file with this hash, or null when it does. */
export function imageSignatureFault(
  given: unknown,
  metadataSha256: string,
  issuers: readonly Issuer[],
): string | null {
  const { v, metadata_sha256, issuer_id, sig } = (given ?? {}) as Partial<ImageSignature>;
  if (v !== 1 || typeof issuer_id !== "string" || typeof sig !== "string")
    return "it is no signature of an image";
  if (metadata_sha256 !== metadataSha256) return "it is for another image";
  const known = issuers.filter(({ issuerId }) => issuerId === issuer_id);
  if (known.length === 0) return "its issuer is not one of those that are trusted";
  const signature = readSignature(sig);
  if (typeof signature === "string") return `its signature is ${signature}`;
  const message = imageMessage(metadataSha256);
  const holds = known.some(({ publicKey }) => {
    const key = readPublicKey(publicKey);
    return typeof key !== "string" && signatureHolds(key, message, signature);
  });
  return holds ? null : "its signature does not hold";
}
