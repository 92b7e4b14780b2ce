// SPDX-License-Identifier: Apache-2.0
/**
 * What the ladder of the AuditProof format says of a document: how far it came, and the first thing
 * that stopped it. Names and members of reasons are the format's own (versions 2.1 and 2.2), so that
 * its verifiers, whoever wrote them, can be compared word for word.
 */

export type FailureReason =
  | { type: "required_field_missing"; field: string }
  | { type: "cdp_version_unsupported"; found: string }
  | { type: "unsigned_field_populated"; field: string }
  | { type: "field_malformed"; field: string; reason: string }
  | {
      type: "authority_id_mismatch";
      claimed_authority_id: string | null;
      expected_authority_id: string;
      reason: string;
    }
  | { type: "region_mismatch"; required: string; actual: string }
  | { type: "step_count_invalid"; expected: 8; found: number }
  | { type: "step_hash_mismatch"; step_idx: number; subsystem: string }
  | {
      type: "chain_step_identity_mismatch";
      step_idx: number;
      expected_subsystem: string;
      found_subsystem: string;
    }
  | { type: "streaming_merkle_root_mismatch"; claimed: string; computed: string }
  | { type: "customer_declared_activity_root_mismatch"; claimed: string; computed: string }
  | { type: "final_hash_mismatch"; claimed: string; computed: string }
  | { type: "algorithm_unsupported"; found: string }
  | { type: "signature_mismatch"; reason: "malformed" | "public_key_malformed" | "does_not_verify" }
  | { type: "signing_key_version_unknown"; version: string }
  | { type: "authority_revoked" };

export interface AuditVerdict {
  /** True also at stage 4, where nothing is signed: see `isAccepted`. */
  valid: boolean;
  /** 1 read, 2 version and policy, 3 chain, 4 final hash, 6 key, 7 signature, 8 authority. */
  stage_reached: number;
  failure_reason: FailureReason | null;
}

/** A chain that nobody signed is whole and worth nothing: only from stage 7 on did a key speak. */
export const isAccepted = ({ valid, stage_reached }: AuditVerdict): boolean => valid && stage_reached >= 7;

/** Thrown by a rung, caught by the ladder. */
export class Fallen extends Error {
  readonly stage: number;
  readonly reason: FailureReason;
  constructor(stage: number, reason: FailureReason) {
    super(reason.type);
    this.stage = stage;
    this.reason = reason;
  }
}
