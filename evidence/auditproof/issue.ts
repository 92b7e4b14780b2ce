// SPDX-License-Identifier: Apache-2.0
/**
 * A document of the AuditProof format, 2.2, made from a proof of ours, so that the format's own verifiers
 * can be asked about a session that ended here. It says no more than the proof does:
 *
 *  A. Times, outcome and steps are the proof's. Each step's evidence_hash is SHA-512 over the evidence that
 *     the proof carries for it, and the signature covers it.
 *  B. The format's links hash constants and one time. What carries the proof itself is the format's own
 *     binding root: `customer_declared_activity_root`, over the bytes of the stored proof as one line.
 *     Whoever has both files compares them (`casemate verify-proof <this> --activity <the proof>`).
 *  C. The session's key signed once and is gone. An export key of the installation signs here: it says that
 *     the installation exported this, and nothing that the proof does not.
 *
 * Names of steps, such as one that tells of overwriting in many passes, are constants of the format.
 */
import type { Cdp } from "../proofs/document.ts";
import { toBase64Text, utf8 } from "../proofs/encoding.ts";
import { canonicalJson } from "../proofs/hash.ts";
import { sha512Hex } from "../proofs/primitives.ts";
import { regulatoryContext } from "../proofs/regulatory.ts";
import { LINKS, links } from "./chain.ts";
import { linesRoot } from "./hash.ts";
import { canonicalHash } from "./view.ts";

export const AUDIT_PROOF_MEDIA_TYPE = "application/vnd.nanorix.auditproof+json";

/** `operation` as production writes it; it is on the wire, and in no link. */
const OPERATIONS = [
  "environment_isolation",
  "filesystem_isolation",
  "multipass_wipe",
  "key_destruction",
  "credential_incineration",
  "merkle_zero_state",
  "chain_integrity_seal",
  "lifecycle_completion",
];

/** In the format's words where it has one. */
const TRIGGERS: Record<Cdp["context"]["trigger"], string> = {
  api: "user_explicit",
  ttl: "ttl_expired",
  oom: "out_of_memory",
  shutdown: "server_restart",
  recovery: "server_restart",
};

export interface ExportKey {
  /** Who exports, and the key of the format's manifest map. */
  authorityId: string;
  /** Decimal. */
  version: string;
  /** 32 bytes. */
  raw: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
}

/**
 * @param stored The proof's bytes, which the document binds, and `cdp` the same parsed and verified.
 * @returns The document's text: for one proof and key always the same.
 */
export function issueAuditProof(stored: Uint8Array, cdp: Cdp, key: ExportKey): string {
  const { context, evidence, created_at, destroyed_at, session_id } = cdp;
  const { outcome, failed_steps } = evidence[7].measured;
  const root = `sha512:${linesRoot(stored)}`;
  const chain = links(destroyed_at).map((hash, index) => ({
    ...{ step: index + 1, subsystem: LINKS[index]![0], operation: OPERATIONS[index]! },
    evidence_hash: `sha512:${sha512Hex(canonicalJson(evidence[index]!))}`,
    chain_hash: `sha512:${hash}`,
  }));
  const signed = {
    cdp_version: "2.2",
    capsule_id: session_id,
    // The proof does not say whose session it was, and this must not either.
    org_id: "",
    ...{ signing_mode: "nanorix_only", jurisdiction: context.jurisdiction },
    ...{ authority_id: key.authorityId, signing_key_version: key.version },
    ...{ hash_algorithm: "SHA-512", signature_algorithm: "Ed25519" },
    activity: [
      { event: "capsule_started", at: created_at },
      { event: "destruction_initiated", at: evidence[0].started_at, trigger: TRIGGERS[context.trigger] },
      {
        ...{ event: "destruction_proof_exported", profile: cdp.profile, final_hash: cdp.final_hash },
        ...{ key_id: context.key_id, outcome, limits: context.limits },
      },
    ],
    chain,
    destruction_state: outcome === "complete" ? "complete" : "incomplete_destruction",
    destruction_failure_step: failed_steps.toSorted((one, other) => one - other)[0] ?? null,
    ...{ runtime_attestation: null, timestamp_attestation: null, attestation_chain_fingerprint: "" },
    customer_declared_activity_root: root,
  };
  const signature = key.sign(utf8(canonicalHash(signed)));
  return canonicalJson({
    ...signed,
    destroyed_at,
    final_hash: chain[7]!.chain_hash,
    attestation: {
      algorithm: "Ed25519",
      public_key: toBase64Text(key.raw),
      signature: toBase64Text(signature),
      key_id: `nrx-verify-${destroyed_at.replaceAll(":", "-")}-${session_id.slice(0, 8)}`,
    },
    residency: {
      ...{ started: created_at, destroyed: destroyed_at },
      total_seconds: (Date.parse(destroyed_at) - Date.parse(created_at)) / 1000,
    },
    destruction_trigger: TRIGGERS[context.trigger],
    capsule_context: {
      ...{ data_classification: context.data_classification, jurisdiction: context.jurisdiction },
    },
    regulatory_context: regulatoryContext({
      ...{ jurisdiction: context.jurisdiction, classification: context.data_classification },
    }),
  });
}
