// SPDX-License-Identifier: Apache-2.0
/** The bytes that the transparency log commits to, of whatever it lists. */
import type { Cdp } from "../proofs/document.ts";
import { utf8 } from "../proofs/encoding.ts";
import { canonicalJson, digestText } from "../proofs/hash.ts";

/** Of a guest image, by the hash of its metadata (`image.json`): hex. No proof's entry has this member, nor this one a proof's. */
export function imageEntry(metadataSha256: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(metadataSha256))
    throw new RangeError("the hash of an image's metadata is 64 lower-case hexadecimal digits");
  return utf8(canonicalJson({ guest_image: `sha256:${metadataSha256}` }));
}

/**
 * Of a proof: the proof and its key, not who owned the session. The session's id is hashed: it is random, so the hash says
 * nothing to who does not know it.
 */
export function proofEntry({ session_id, final_hash, attestation }: Cdp): Uint8Array {
  const { key_id, public_key, certificate } = attestation;
  const session_id_hash = digestText(session_id);
  return utf8(canonicalJson({ key_id, public_key, session_id_hash, final_hash, cert_sig: certificate.sig }));
}
