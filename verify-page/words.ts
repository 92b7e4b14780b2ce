// SPDX-License-Identifier: Apache-2.0
/** What each check does not show. What it shows is said where it is made (`evidence/proofs/checks.ts`). */

export const NOT_SHOWN: Record<string, string> = {
  form: "that anything it says is true",
  twins: "more than that both places agree",
  chain: "who computed the hashes: anybody can",
  signature: "whose key that is",
  seal: "that steps 1 to 6 measured rightly",
  times: "that the host's clock was right",
  claims: "what was never measured: see what each step skipped",
  outcome: "that nothing exists elsewhere: only what the steps looked at",
  certificate: "that the issuer measured honestly; it is worth what your copy of its key is worth",
  revocation: "revocations that you were not told of",
  inclusion: "that others see the same log",
  log: "more than your checkpoint is worth: one fetched from the operator just now agrees with the operator",
};

/** Checks above level 1, also for documents whose verifier did not get there. */
export const LATER = [
  {
    name: "certificate",
    level: 2,
    shows: "a pinned issuer certified this key for this session and time",
  },
  {
    name: "revocation",
    level: 2,
    shows: "the key is the one known by its id, and neither it nor its issuer has been revoked",
  },
  { name: "inclusion", level: 3, shows: "the proof is an entry of the log that it came with" },
  { name: "log", level: 3, shows: "that log is, or grew from, the one of which you hold a checkpoint" },
] as const;

/** Of an AuditProof, by the stage that is reached when it holds. */
export const STAGES = [
  {
    stage: 1,
    name: "form",
    shows: "it is one document of the AuditProof format",
    not: "that anything it says is true",
  },
  {
    stage: 2,
    name: "version and demands",
    shows: "a version known here, no unsigned member filled in, and your demands, if you gave any",
    not: "that the region or authority it names is the real one, unless it is signed",
  },
  {
    stage: 3,
    name: "chain",
    shows: "eight links over constants and one time, and every root that it declares",
    not: "any measurement: this format carries none",
  },
  {
    stage: 4,
    name: "final hash",
    shows: "it is the last link",
    not: "who made it: anybody can write a chain that nobody signs",
  },
  {
    stage: 7,
    name: "signature",
    shows: "the key in the document signed what its version has signed",
    not: "whose key that is",
  },
  {
    stage: 8,
    name: "authority",
    shows: "a key of the trust chain that you pinned signed it, and was not revoked",
    not: "that the authority measured honestly",
  },
] as const;

/** What the limits in a proof mean; the list is closed (`evidence/proofs/document.ts`). */
export const OUTCOMES = {
  complete: "Complete: every step found what it had to find.",
  incomplete: "Not complete: at least one step did not find what it had to find.",
} as const;
