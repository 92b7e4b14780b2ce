// SPDX-License-Identifier: Apache-2.0
/**
 * What the transparency log commits to of a proof: the proof and its key, not who owned the session.
 * The session's id is hashed: it is random, so the hash says nothing to who does not know it.
 */
import type { Cdp } from "../proofs/document.ts";
import { utf8 } from "../proofs/encoding.ts";
import { canonicalJson, digestText } from "../proofs/hash.ts";

export function proofEntry({ session_id, final_hash, attestation }: Cdp): Uint8Array {
  const { key_id, public_key, certificate } = attestation;
  const session_id_hash = digestText(session_id);
  return utf8(canonicalJson({ key_id, public_key, session_id_hash, final_hash, cert_sig: certificate.sig }));
}
