// SPDX-License-Identifier: Apache-2.0
/**
 * AuditProof documents (versions 2.0, 2.1 and 2.2) in this verifier's words. The ladder of that format
 * stops at the first thing that does not hold: what it did not reach has not passed. It calls a chain
 * valid that nobody signed; here that is a document without a signature.
 */
import { judgeParsed } from "../auditproof/ladder.ts";
import { type FailureReason, isAccepted } from "../auditproof/verdict.ts";
import type { Members } from "./reading.ts";
import type { Failure, ProofVerdict, Warning } from "./verdict.ts";

interface Judged {
  failures: Failure[];
  warnings: Warning[];
  passed: Omit<ProofVerdict["checks"], "step_count">;
}

export function judgeAudit(document: Members): Judged {
  const verdict = judgeParsed(document);
  const { valid, stage_reached, failure_reason } = verdict;
  // The signature of 2.0 covers a hash that nobody computes again.
  const warnings: Warning[] =
    document.cdp_version === "2.0" ? ["evidence_unsigned", "origin_unknown"] : ["origin_unknown"];
  const failures = failure_reason === null ? [] : [failureOf(failure_reason, stage_reached)];
  if (valid && !isAccepted(verdict)) failures.push("signature_missing");
  return {
    ...{ failures, warnings },
    passed: {
      chain_integrity: stage_reached >= 4,
      final_hash: stage_reached >= 4 && failure_reason?.type !== "final_hash_mismatch",
      signature: isAccepted(verdict),
    },
  };
}

const SAME: Partial<Record<FailureReason["type"], Failure>> = {
  required_field_missing: "missing_member",
  cdp_version_unsupported: "unsupported_version",
  unsigned_field_populated: "unsigned_member",
  field_malformed: "invalid_member",
  step_count_invalid: "invalid_member",
  step_hash_mismatch: "chain_hash_mismatch",
  chain_step_identity_mismatch: "step_identity",
  streaming_merkle_root_mismatch: "root_mismatch",
  customer_declared_activity_root_mismatch: "root_mismatch",
  algorithm_unsupported: "unsupported_algorithm",
};

const SIGNATURE = {
  malformed: "signature_malformed",
  public_key_malformed: "public_key_malformed",
  does_not_verify: "signature_invalid",
} as const;

function failureOf(reason: FailureReason, stage: number): Failure {
  if (reason.type === "signature_mismatch") return SIGNATURE[reason.reason];
  // That format has one name for the last link and for the root of receipts or parents, which it looks at with the chain.
  if (reason.type === "final_hash_mismatch") return stage === 4 ? "final_hash_mismatch" : "root_mismatch";
  // The others need a policy or a manifest, and neither is given here.
  return SAME[reason.type] ?? "invalid_member";
}
