// SPDX-License-Identifier: Apache-2.0
/**
 * What a verifier can say: closed lists of codes, each with the one sentence a person reads. A code
 * is stable once published; a new finding gets a new code.
 */

/** Which of the three published checks a failure speaks against; `provenance` belongs to level 2, `transparency` to level 3. */
type Concern = "document" | "chain_integrity" | "final_hash" | "signature" | "provenance" | "transparency";

interface FailureEntry {
  concern: Concern;
  sentence: string;
}

const fails = (concern: Concern, sentence: string): FailureEntry => ({ concern, sentence });

export const FAILURES = {
  not_json: fails("document", "The document is not JSON in UTF-8."),
  not_an_object: fails("document", "The document is JSON, but not an object."),
  too_large: fails("document", "The document is larger than 256 KiB."),
  too_deep: fails("document", "The document is nested deeper than 32 levels."),
  duplicate_key: fails("document", "An object of the document names the same member twice."),
  lone_surrogate: fails("document", "A string of the document holds half of a surrogate pair."),
  number_not_integer: fails("document", "A number of the document is not an integer within 2^53−1."),
  unsupported_version: fails("document", "The document's cdp_version is not one this verifier knows."),
  unsupported_profile: fails("document", "The document's profile is not one this verifier knows."),
  unsupported_algorithm: fails("document", "The document's signature algorithm is not Ed25519."),
  unsupported_feature: fails(
    "document",
    "The 1.0 document carries a structure this verifier does not judge.",
  ),
  unsigned_member: fails(
    "document",
    "A member that nothing signs, and that is to be empty, carries a value.",
  ),
  unknown_member: fails("document", "The document carries a member that the profile does not have."),
  missing_member: fails("document", "The document lacks a member that the profile requires."),
  invalid_member: fails("document", "A member of the document does not have the form the profile requires."),
  twin_mismatch: fails("chain_integrity", "A top-level member differs from its signed twin."),
  step_identity: fails(
    "chain_integrity",
    "A chain item names another step than its place in the fixed table.",
  ),
  evidence_hash_mismatch: fails("chain_integrity", "A step's evidence does not hash to its evidence_hash."),
  chain_hash_mismatch: fails("chain_integrity", "A link does not hash to its chain_hash."),
  sealed_hashes_mismatch: fails(
    "chain_integrity",
    "Step 7 lists other evidence hashes than those of steps 1 to 6.",
  ),
  time_invalid: fails(
    "chain_integrity",
    "A time is no calendar time, or lies before the one it must follow.",
  ),
  destroyed_at_mismatch: fails(
    "chain_integrity",
    "destroyed_at is not the end of the last probe of steps 1 to 6.",
  ),
  outcome_mismatch: fails(
    "chain_integrity",
    "Step 8's outcome, failed steps, end state or durations differ from the steps.",
  ),
  root_mismatch: fails(
    "chain_integrity",
    "A Merkle root that the document declares is not that of what it lists.",
  ),
  probe_root_mismatch: fails("chain_integrity", "probe_root is not the Merkle root of the probes listed."),
  contradiction: fails("chain_integrity", "A step claims success against its own measurement."),
  key_id_malformed: fails("chain_integrity", "The key id does not have the form of this session's key id."),
  final_hash_mismatch: fails("final_hash", "final_hash is not the last link of the recomputed chain."),
  public_key_malformed: fails("signature", "The public key is not a canonical Ed25519 SPKI of 44 bytes."),
  public_key_weak: fails("signature", "The public key is a small-order or non-canonical point."),
  public_key_mismatch: fails("signature", "The public key is not the one the signed context names."),
  signature_malformed: fails("signature", "The signature is not 64 bytes in canonical base64."),
  signature_weak: fails(
    "signature",
    "The signature has a small-order or non-canonical R, or an S that is not reduced.",
  ),
  signature_missing: fails("signature", "The document carries no signature or no public key."),
  signature_invalid: fails("signature", "The signature does not verify with the document's key."),
  issuer_unknown: fails("provenance", "The certificate's issuer is not one of the pinned issuers."),
  certificate_missing: fails(
    "provenance",
    "The document carries no certificate, so its origin cannot be shown.",
  ),
  certificate_mismatch: fails("provenance", "The certificate speaks of another key, key id or session."),
  certificate_window: fails(
    "provenance",
    "destroyed_at lies outside the certificate's time window, or the window is no pair of times.",
  ),
  certificate_malformed: fails("provenance", "The certificate's signature is malformed or weak."),
  certificate_invalid: fails(
    "provenance",
    "The certificate's signature does not verify with the pinned issuer's key.",
  ),
  known_key_mismatch: fails("provenance", "The key id is known, but with another public key."),
  key_revoked: fails("provenance", "The key, or its issuer, has been revoked."),
  inclusion_missing: fails("transparency", "Nothing was given that shows the proof in the log."),
  inclusion_malformed: fails(
    "transparency",
    "What is to show the proof in the log does not have its form, or contradicts its own checkpoint.",
  ),
  inclusion_invalid: fails("transparency", "The proof is not in the tree of the checkpoint it came with."),
  log_origin_mismatch: fails("transparency", "The checkpoint is of another log than the one held."),
  witness_missing: fails(
    "transparency",
    "None of the pinned witnesses signed a checkpoint over the tree that the proof is in.",
  ),
  log_key_unknown: fails("transparency", "None of the pinned keys of the log signed the checkpoint."),
  log_forked: fails(
    "transparency",
    "The log had another tree of the same size when the held checkpoint was made.",
  ),
  consistency_missing: fails(
    "transparency",
    "Nothing was given that shows the checkpoint to have grown from the one held.",
  ),
  consistency_invalid: fails("transparency", "The checkpoint's tree does not begin with the one held."),
} as const satisfies Record<string, FailureEntry>;

export const WARNINGS = {
  origin_unknown: "The document is whole, but nothing shown here says who made it.",
  evidence_unsigned:
    "The signature covers constants and one time only: session, evidence and labels can be edited.",
  outcome_incomplete: "The proof itself says that the destruction was not complete.",
  recovered: "A later process wrote this proof for a session it found dead.",
  overwrite_not_claimed: "The proof does not claim that file contents were overwritten.",
  logged_late:
    "A witness had seen the log without this proof an hour after it says that it was made, or later.",
  log_not_independent:
    "The log was compared only with what its own operator says of it: hold a checkpoint yourself.",
  start_facts_lost: "Facts about the session's start were lost and are not claimed.",
} as const;

export type Failure = keyof typeof FAILURES;
export type Warning = keyof typeof WARNINGS;

export interface ProofVerdict {
  /** Level 1 holds, with level 2 where that was asked for or the document names an issuer or key known here, and level 3 where that was. */
  valid: boolean;
  /** The highest level that holds with all below it: 0 none, 1 integrity, 2 provenance, 3 transparency. */
  level: 0 | 1 | 2 | 3;
  /** What the proof says of the destruction; null unless level 1 holds, and for 1.0 documents without profile. */
  outcome: "complete" | "incomplete" | null;
  profile: string | null;
  checks: {
    chain_integrity: boolean;
    final_hash: boolean;
    signature: boolean;
    /** Chain entries found. */
    step_count: number;
  };
  warnings: Warning[];
  failures: Failure[];
}

/** The three booleans of the published answer; a document that cannot be read fails all of them. */
export function checksOf(failures: ReadonlySet<Failure>, stepCount: number): ProofVerdict["checks"] {
  const concerns = new Set<Concern>();
  for (const failure of failures) concerns.add(FAILURES[failure].concern);
  const unread = concerns.has("document");
  return {
    chain_integrity: !unread && !concerns.has("chain_integrity"),
    final_hash: !unread && !concerns.has("final_hash"),
    signature: !unread && !concerns.has("signature"),
    step_count: stepCount,
  };
}

/** What a level above the first asks for does not speak against integrity. */
const ABOVE: ReadonlySet<Concern> = new Set<Concern>(["provenance", "transparency"]);

/** True when none of the failures speaks against integrity. */
export function integrityHolds(failures: ReadonlySet<Failure>): boolean {
  for (const failure of failures) if (!ABOVE.has(FAILURES[failure].concern)) return false;
  return true;
}
