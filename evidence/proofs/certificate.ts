// SPDX-License-Identifier: Apache-2.0
/**
 * The certificate says which key may speak for which session, signed by the issuer. It is the whole
 * of level 2: the embedded key proves that the document is whole, the certificate whose it is.
 */
import type { Certificate } from "./document.ts";
import { toBase64Text, utf8 } from "./encoding.ts";
import { canonicalJson } from "./hash.ts";
import { readPublicKey, readSignature, signatureHolds } from "./keys.ts";
import { type ImportedKey, importEd25519 } from "./primitives.ts";
import { isWireTime } from "./time.ts";
import type { Failure } from "./verdict.ts";

export type CertificateBody = Omit<Certificate, "sig">;

/** An issuer the reader trusts, by a key it got elsewhere. One id may have several keys over time. */
export interface Issuer {
  issuerId: string;
  /** `base64:` and SPKI DER. */
  publicKey: string;
}

/** An issuer whose key was read once: for a reader who verifies many documents. */
export class PinnedIssuer implements Issuer {
  readonly issuerId: string;
  readonly publicKey: string;
  readonly key: ImportedKey;

  /** Throws for a key that could never verify anything: better when pinning than at every document. */
  constructor({ issuerId, publicKey }: Issuer) {
    const spki = readPublicKey(publicKey);
    if (typeof spki === "string") throw new TypeError(`the key of issuer ${issuerId} is ${spki}`);
    this.issuerId = issuerId;
    this.publicKey = publicKey;
    this.key = importEd25519(spki);
  }
}

/** The bytes an issuer signs. */
export function certificateMessage(body: CertificateBody): Uint8Array {
  return utf8(`cdp/1/cert\n${canonicalJson(body)}`);
}

/**
 * Makes a certificate. `sign` holds the issuer's private key; this library never does.
 *
 * @example issueCertificate(body, (message) => crypto.sign(null, message, issuerKey))
 */
export function issueCertificate(
  body: CertificateBody,
  sign: (message: Uint8Array) => Uint8Array,
): Certificate {
  const key = readPublicKey(body.public_key);
  if (typeof key === "string") throw new TypeError(`a certificate for a ${key} key is not issued`);
  const { v, issuer_id, key_id, public_key, session_id, not_before, not_after } = body;
  const exact = { v, issuer_id, key_id, public_key, session_id, not_before, not_after };
  return { ...exact, sig: toBase64Text(sign(certificateMessage(exact))) };
}

/** What the certificate must agree with. */
export interface Certified {
  publicKey: string;
  keyId: string;
  sessionId: string;
  destroyedAt: string;
}

/** Every way in which the certificate fails for this document; empty when it holds. */
export function checkCertificate(
  certificate: Certificate,
  certified: Certified,
  issuers: readonly Issuer[],
): Failure[] {
  const failures: Failure[] = [];
  const { sig, ...body } = certificate;
  if (
    body.public_key !== certified.publicKey ||
    body.key_id !== certified.keyId ||
    body.session_id !== certified.sessionId
  ) {
    failures.push("certificate_mismatch");
  }
  // Wire times have one width, so their order as text is their order in time.
  const exist = isWireTime(body.not_before) && isWireTime(body.not_after);
  if (!exist || certified.destroyedAt < body.not_before || certified.destroyedAt > body.not_after) {
    failures.push("certificate_window");
  }
  const candidates = issuers.filter((issuer) => issuer.issuerId === body.issuer_id);
  if (candidates.length === 0) return [...failures, "issuer_unknown"];
  const signature = readSignature(sig);
  if (typeof signature === "string") return [...failures, "certificate_malformed"];
  const message = certificateMessage(body);
  const holds = candidates.some((issuer) => {
    const key = issuer instanceof PinnedIssuer ? issuer.key : readPublicKey(issuer.publicKey);
    return typeof key !== "string" && signatureHolds(key, message, signature);
  });
  if (!holds) failures.push("certificate_invalid");
  return failures;
}
