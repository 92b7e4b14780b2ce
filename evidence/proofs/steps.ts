// SPDX-License-Identifier: Apache-2.0
/**
 * The eight steps, in order. Subsystem and operation enter the chain from here and never from a
 * document: a verifier that hashes the names it was handed accepts any names.
 */
export const STEPS = [
  { step: 1, subsystem: "eee_namespace", operation: "environment_isolation" },
  { step: 2, subsystem: "eee_tmpfs", operation: "filesystem_destruction" },
  { step: 3, subsystem: "eee_memory", operation: "multipass_overwrite" },
  { step: 4, subsystem: "dire_keys", operation: "key_zeroization" },
  { step: 5, subsystem: "dire_identity", operation: "credential_incineration" },
  { step: 6, subsystem: "fgx_forensic", operation: "merkle_zero_verification" },
  { step: 7, subsystem: "rzl_audit", operation: "chain_integrity_seal" },
  { step: 8, subsystem: "session_destroy", operation: "lifecycle_completion" },
] as const;

export type Step = (typeof STEPS)[number];
