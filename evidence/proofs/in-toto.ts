// SPDX-License-Identifier: Apache-2.0
/**
 * A proof as an in-toto statement (v1) in a DSSE envelope, for tools that gather attestations: its subject is
 * the stored proof by its SHA-256, and its predicate what the proof says in short. Whoever wants more than
 * that the installation said so verifies the proof itself.
 */
import type { Cdp } from "./document.ts";
import { type Envelope, STATEMENT, signStatement } from "./dsse.ts";
import { sha256Hex } from "./primitives.ts";

/** Of ours; a name that needs nobody's web server. */
export const PREDICATE_TYPE = "urn:casemate:destruction-proof:v1";

/** @param stored The proof's bytes, and `cdp` the same parsed and verified. */
export function inTotoEnvelope(
  stored: Uint8Array,
  cdp: Cdp,
  keyid: string,
  sign: (message: Uint8Array) => Uint8Array,
): Envelope {
  const { outcome, failed_steps, end_state } = cdp.evidence[7].measured;
  const statement = {
    _type: STATEMENT,
    subject: [{ name: `${cdp.session_id}.cdp.json`, digest: { sha256: sha256Hex(stored) } }],
    predicateType: PREDICATE_TYPE,
    predicate: {
      ...{ profile: cdp.profile, session_id: cdp.session_id, trigger: cdp.context.trigger },
      ...{ created_at: cdp.created_at, destroyed_at: cdp.destroyed_at },
      ...{ end_state, outcome, failed_steps, limits: cdp.context.limits },
      ...{ final_hash: cdp.final_hash, key_id: cdp.attestation.key_id },
    },
  };
  return signStatement(statement, keyid, sign);
}
