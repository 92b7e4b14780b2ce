// SPDX-License-Identifier: Apache-2.0
/** What a signature of the AuditProof format covers: from version 2.1 on a view of the document, before it one hash of it. */
import { sha512Hex } from "../proofs/primitives.ts";
import { type Members, member } from "../proofs/reading.ts";
import { bare, canonical } from "./hash.ts";

/** In the view only when they are there: a null is as good as missing. */
const OPTIONAL = [
  "parent_audit_proof_id",
  "cdp_kind",
  "parent_proofs_merkle_root",
  "record_receipts_merkle_root",
  "customer_declared_activity_root",
] as const;

/** The canonical hash: 128 hex digits, which are what is signed. */
export function canonicalHash(document: Members): string {
  const of = (name: string) => member(document, name) ?? null;
  // Null is a value where the format has a text or a list by default.
  const given = (name: string, otherwise: unknown) =>
    Object.hasOwn(document, name) ? document[name] : otherwise;
  const fingerprint = of("attestation_chain_fingerprint");
  const view: Members = {
    version: of("cdp_version"),
    signing_mode: of("signing_mode"),
    jurisdiction: of("jurisdiction"),
    authority_id: of("authority_id"),
    signing_key_version: versionNumber(of("signing_key_version")),
    capsule_id: of("capsule_id"),
    org_id: given("org_id", ""),
    activity_trail: given("activity", []),
    destruction_chain: given("chain", []),
    destruction_state: of("destruction_state"),
    destruction_failure_step: of("destruction_failure_step"),
    runtime_attestation: of("runtime_attestation"),
    attestation: {
      timestamp_attestation: of("timestamp_attestation"),
      attestation_chain_fingerprint:
        typeof fingerprint === "string" && fingerprint !== "" ? fingerprint : null,
    },
    hash_algorithm: of("hash_algorithm"),
    signature_algorithm: of("signature_algorithm"),
  };
  for (const name of OPTIONAL) if (of(name) !== null) view[name] = of(name);
  return sha512Hex(canonical(view));
}

/** A 64-bit integer in decimal; whatever else stands there is 0. */
function versionNumber(value: unknown): number {
  if (typeof value !== "string" || !/^[+-]?\d+$/.test(value)) return 0;
  const number = BigInt(value.startsWith("+") ? value.slice(1) : value);
  return BigInt.asIntN(64, number) === number ? Number(number) : 0;
}

/** The signed text; null where this software cannot know it. */
export function signedText(document: Members): string | null {
  const version = member(document, "cdp_version");
  if (version === "1.0") return bare(member(document, "final_hash"));
  // Not recomputed: the format never said from what.
  if (version === "2.0") return bare(member(document, "document_hash"));
  const mode = member(document, "signing_mode");
  return typeof mode === "string" && mode !== "nanorix_only" ? null : canonicalHash(document);
}
