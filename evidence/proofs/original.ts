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
import { LINKS, links, timestampOf } from "../auditproof/chain.ts";
import { bare } from "../auditproof/hash.ts";
import { RESERVED } from "../auditproof/ladder.ts";
import { fromBase64, utf8 } from "./encoding.ts";
import { readSignature, signatureHolds, spkiOfRaw } from "./keys.ts";
import { isMembers, type Members, member } from "./reading.ts";
import type { Failure, Warning } from "./verdict.ts";

/** Structures with roots of their own. */
const NOT_JUDGED = [
  "record_receipts",
  "record_receipts_merkle_root",
  "parent_proof_hashes",
  "parent_proofs_merkle_root",
  "customer_declared_activity_root",
];

export function judgeOriginal(document: Members): { failures: Failure[]; warnings: Warning[] } {
  const warnings: Warning[] = ["evidence_unsigned", "origin_unknown"];
  if (
    [...RESERVED, ...NOT_JUDGED].some((name) => (member(document, name) ?? null) !== null) ||
    carriesStream(document)
  ) {
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
  for (const [index, hash] of links(timestampOf(document)).entries()) {
    const item = chain[index]!;
    if (bare(member(item, "chain_hash")) !== hash) failures.add("chain_hash_mismatch");
    else if (member(item, "subsystem") !== LINKS[index]![0]) failures.add("step_identity");
  }
  if (bare(member(document, "final_hash")) !== bare(member(chain[7]!, "chain_hash"))) {
    failures.add("final_hash_mismatch");
  }
  return [...failures];
}

function judgeSignature(document: Members): Failure[] {
  const attestation = member(document, "attestation");
  for (const stated of [member(attestation, "algorithm"), member(document, "signature_algorithm")]) {
    if (typeof stated === "string" && stated !== "Ed25519") return ["unsupported_algorithm"];
  }
  const signatureText = member(attestation, "signature");
  const keyText = member(attestation, "public_key");
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
