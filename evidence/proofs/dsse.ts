// SPDX-License-Identifier: Apache-2.0
/**
 * Statements of in-toto (v1) in envelopes of DSSE (v1), signed with Ed25519. The attacker chooses the whole envelope: what it says of
 * who signed it (`keyid`) is no reason to believe it, and only bytes that the reader's own key signed are parsed.
 */
import { fromBase64, toBase64Text, utf8 } from "./encoding.ts";
import { canonicalJson } from "./hash.ts";
import { isSoundSignature, signatureHolds } from "./keys.ts";
import { isMembers, type Members } from "./reading.ts";
import { parseStrictJson } from "./strict-json.ts";

export const DSSE_MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json";
export const PAYLOAD_TYPE = "application/vnd.in-toto+json";
export const STATEMENT = "https://in-toto.io/Statement/v1";

export interface Envelope {
  payloadType: typeof PAYLOAD_TYPE;
  /** Base64. */
  payload: string;
  signatures: { keyid: string; sig: string }[];
}

/** What DSSE signs: type and payload with their lengths, so that neither can run into the other. */
export function preAuthEncoding(type: string, payload: Uint8Array): Uint8Array {
  const head = utf8(`DSSEv1 ${utf8(type).length} ${type} ${payload.length} `);
  const whole = new Uint8Array(head.length + payload.length);
  whole.set(head);
  whole.set(payload, head.length);
  return whole;
}

const base64 = (bytes: Uint8Array) => toBase64Text(bytes).slice("base64:".length);

/** `sign` holds the private key; this library never does. */
export function signStatement(
  statement: object,
  keyid: string,
  sign: (message: Uint8Array) => Uint8Array,
): Envelope {
  const payload = utf8(canonicalJson(statement));
  const sig = base64(sign(preAuthEncoding(PAYLOAD_TYPE, payload)));
  return { payloadType: PAYLOAD_TYPE, payload: base64(payload), signatures: [{ keyid, sig }] };
}

export type EnvelopeFault = "malformed" | "unsupported_type" | "signature_invalid" | "statement_malformed";

/** The statement that the key (SPKI of a sound one) signed. One signature of several is enough; those of others say nothing. */
export function openStatement(bytes: Uint8Array | string, spki: Uint8Array): Members | EnvelopeFault {
  const parsed = parseStrictJson(bytes);
  const envelope = parsed.ok ? parsed.value : null;
  if (!isMembers(envelope) || Object.keys(envelope).toSorted().join() !== "payload,payloadType,signatures")
    return "malformed";
  const { payloadType, payload: text, signatures } = envelope;
  const payload = typeof text === "string" ? fromBase64(text) : null;
  if (typeof payloadType !== "string" || payload === null || !Array.isArray(signatures)) return "malformed";
  if (signatures.length === 0 || !signatures.every(isSignature)) return "malformed";
  if (payloadType !== PAYLOAD_TYPE) return "unsupported_type";
  const message = preAuthEncoding(payloadType, payload);
  const holds = signatures.some((one) => {
    const signature = fromBase64((one as { sig: string }).sig)!;
    return isSoundSignature(signature) && signatureHolds(spki, message, signature);
  });
  if (!holds) return "signature_invalid";
  const statement = parseStrictJson(payload);
  if (!statement.ok || !isMembers(statement.value) || statement.value._type !== STATEMENT)
    return "statement_malformed";
  return statement.value;
}

/** Without its optional `keyid` too. */
function isSignature(value: unknown): boolean {
  if (!isMembers(value)) return false;
  const { keyid, sig, ...more } = value;
  return (
    Object.keys(more).length === 0 &&
    (keyid === undefined || typeof keyid === "string") &&
    typeof sig === "string" &&
    fromBase64(sig) !== null
  );
}
