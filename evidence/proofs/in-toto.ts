// SPDX-License-Identifier: Apache-2.0
/**
 * A proof as an in-toto statement (v1) in a DSSE envelope, for tools that gather attestations: its subject is
 * the stored proof by its SHA-256, and its predicate what the proof says in short. Whoever wants more than
 * that the installation said so verifies the proof itself.
 */
import type { Cdp } from "./document.ts";
import { toBase64Text, utf8 } from "./encoding.ts";
import { canonicalJson } from "./hash.ts";
import { sha256Hex } from "./primitives.ts";

export const DSSE_MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json";
export const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const STATEMENT = "https://in-toto.io/Statement/v1";
/** Of ours; a name that needs nobody's web server. */
export const PREDICATE_TYPE = "urn:casemate:destruction-proof:v1";

/** What DSSE signs: type and payload with their lengths, so that neither can run into the other. */
export function preAuthEncoding(type: string, payload: Uint8Array): Uint8Array {
  const head = utf8(`DSSEv1 ${utf8(type).length} ${type} ${payload.length} `);
  const whole = new Uint8Array(head.length + payload.length);
  whole.set(head);
  whole.set(payload, head.length);
  return whole;
}

export interface Envelope {
  payloadType: typeof PAYLOAD_TYPE;
  /** Base64. */
  payload: string;
  signatures: { keyid: string; sig: string }[];
}

const base64 = (bytes: Uint8Array) => toBase64Text(bytes).slice("base64:".length);

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
  const payload = utf8(canonicalJson(statement));
  const sig = base64(sign(preAuthEncoding(PAYLOAD_TYPE, payload)));
  return { payloadType: PAYLOAD_TYPE, payload: base64(payload), signatures: [{ keyid, sig }] };
}
