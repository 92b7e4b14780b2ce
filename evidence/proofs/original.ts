// SPDX-License-Identifier: Apache-2.0
/**
 * Documents of the original's version 1.0, judged by the original's rules. There a link hashes
 * constants and one timestamp, and the signature covers the last link: session, evidence, labels
 * and every other member can be edited and everything still verifies. So such a document reaches
 * level 1 at most and always carries the warning `evidence_unsigned`.
 *
 * Two rules are stricter than the original's: a document without a signature is not valid, and weak
 * keys and signatures are refused. Structures with Merkle roots of their own are not judged here.
 */
import { fromBase64, utf8 } from "./encoding.ts";
import { readSignature, signatureHolds, spkiOfRaw } from "./keys.ts";
import { sha512Hex } from "./primitives.ts";
import { isMembers, member } from "./reading.ts";
import type { Failure, Warning } from "./verdict.ts";

/** Subsystem and method of each link; the method is a constant of the format and not in the document. */
const LINKS = [
  ["eee_namespace", "procfs_verification"],
  ["eee_tmpfs", "mountinfo_verification"],
  ["eee_memory", "dod_5220_multipass_wipe"],
  ["dire_keys", "ed25519_key_destruction"],
  ["dire_identity", "credential_incineration"],
  ["fgx_forensic", "merkle_tree_verification"],
  ["rzl_audit", "hash_chain_validation"],
  ["capsule_destroy", "capsule_lifecycle_verification"],
] as const;

/** Slots that the format keeps empty because nothing signs them, and structures with roots of their own. */
const NOT_JUDGED = [
  "customer_attestation",
  "policy_attestation",
  "third_party_attestation",
  "retention_policy_attestation",
  "witness_signatures",
  "pqc_attestation",
  "customer_pqc_attestation",
  "record_receipts",
  "record_receipts_merkle_root",
  "parent_proof_hashes",
  "parent_proofs_merkle_root",
  "customer_declared_activity_root",
];

type Members = Record<string, unknown>;

export function judgeOriginal(document: Members): { failures: Failure[]; warnings: Warning[] } {
  const warnings: Warning[] = ["evidence_unsigned", "origin_unknown"];
  if (NOT_JUDGED.some((name) => (member(document, name) ?? null) !== null) || carriesStream(document)) {
    return { failures: ["unsupported_feature"], warnings };
  }
  const chain = member(document, "chain");
  if (!Array.isArray(chain)) return { failures: ["missing_member"], warnings };
  if (chain.length !== LINKS.length || !chain.every(isMembers))
    return { failures: ["invalid_member"], warnings };
  return { failures: [...judgeChain(document, chain), ...judgeSignature(document)], warnings };
}

function carriesStream(document: Members): boolean {
  const activity = member(document, "activity");
  if (!Array.isArray(activity)) return false;
  return activity.some(
    (event) => isMembers(event) && String(member(event, "event")).startsWith("streaming_egress"),
  );
}

function judgeChain(document: Members, chain: readonly Members[]): Failure[] {
  const failures = new Set<Failure>();
  const timestamp = timestampOf(document);
  let prev = sha512Hex("");
  for (const [index, [subsystem, method]] of LINKS.entries()) {
    const item = chain[index]!;
    prev = sha512Hex([prev, subsystem, "destroy", method, timestamp].join("\0"));
    if (bare(member(item, "chain_hash")) !== prev) failures.add("chain_hash_mismatch");
    else if (member(item, "subsystem") !== subsystem) failures.add("step_identity");
  }
  if (bare(member(document, "final_hash")) !== bare(member(chain[7]!, "chain_hash"))) {
    failures.add("final_hash_mismatch");
  }
  return [...failures];
}

/** `destroyed_at` as written, or the time inside the key id when there is none. */
function timestampOf(document: Members): string {
  const destroyedAt = member(document, "destroyed_at");
  if (typeof destroyedAt === "string" && destroyedAt !== "") return destroyedAt;
  const attestation = member(document, "attestation");
  const keyId = isMembers(attestation) ? member(attestation, "key_id") : undefined;
  if (typeof keyId !== "string") return "";
  const [, date, time] = /^nrx-verify-(\d{4}-\d{2}-\d{2})T(.*)-[^-]+$/s.exec(keyId) ?? [];
  const clock = time?.replaceAll("-", ":");
  return clock !== undefined && /^\d{2}:\d{2}:\d{2}/.test(clock) ? `${date}T${clock}` : "";
}

function judgeSignature(document: Members): Failure[] {
  const attestation = member(document, "attestation");
  const members = isMembers(attestation) ? attestation : {};
  for (const stated of [member(members, "algorithm"), member(document, "signature_algorithm")]) {
    if (typeof stated === "string" && stated !== "Ed25519") return ["unsupported_algorithm"];
  }
  const signatureText = member(members, "signature");
  const keyText = member(members, "public_key");
  if (typeof signatureText !== "string" || signatureText === "") return ["signature_missing"];
  if (typeof keyText !== "string" || keyText === "") return ["signature_missing"];
  const signature = readSignature(
    signatureText.startsWith("base64:") ? signatureText : `base64:${signatureText}`,
  );
  if (signature === "malformed") return ["signature_malformed"];
  if (signature === "weak") return ["signature_weak"];
  const raw = fromBase64(keyText.startsWith("base64:") ? keyText.slice(7) : keyText);
  const key = raw === null ? "malformed" : spkiOfRaw(raw);
  if (key === "malformed") return ["public_key_malformed"];
  if (key === "weak") return ["public_key_weak"];
  const message = utf8(bare(member(document, "final_hash")));
  return signatureHolds(key, message, signature) ? [] : ["signature_invalid"];
}

/** Hash text without one leading prefix; what is no text equals nothing a hash can be. */
function bare(value: unknown): string {
  if (typeof value !== "string") return "";
  return value.startsWith("sha512:") ? value.slice("sha512:".length) : value;
}
