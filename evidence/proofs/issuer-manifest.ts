// SPDX-License-Identifier: Apache-2.0
/**
 * The list of an installation's issuers, and of what it revoked, signed by one key for good: a reader
 * pins that key's fingerprint once, from a place of their own choice, and takes every later list from
 * wherever it lies. Whoever serves it can show an older one, which is why it says when it was signed.
 */
import type { Issuer } from "./certificate.ts";
import { toBase64Text, utf8 } from "./encoding.ts";
import { canonicalJson } from "./hash.ts";
import { readPublicKey, readSignature, signatureHolds } from "./keys.ts";
import { sha256Hex } from "./primitives.ts";
import { isMembers, member } from "./reading.ts";
import { isWireTime } from "./time.ts";

const FORMAT = "casemate-issuers/1";

export interface IssuerManifestBody {
  format: typeof FORMAT;
  /** `base64:` and SPKI DER of the key that signs. */
  identity_public_key: string;
  /** `sha256:` and SHA-256 of that SPKI, hex: what a reader pins. */
  fingerprint: string;
  /** UTC. */
  issued_at: string;
  /** Every one there ever was. */
  issuers: { issuer_id: string; public_key: string; revoked: boolean }[];
  /** Ids of session keys whose proofs are not to be believed. */
  revoked_keys: string[];
}

export interface IssuerManifest extends IssuerManifestBody {
  /** `base64:` and Ed25519 over ASCII `casemate/issuers/1`, a line feed, and the RFC 8785 form of all other members. */
  signature: string;
}

export interface OpenedManifest {
  issuers: Issuer[];
  revokedIssuerIds: ReadonlySet<string>;
  revokedKeyIds: ReadonlySet<string>;
  issuedAt: string;
}

export type ManifestFault = "malformed" | "fingerprint_mismatch" | "signature_invalid";

export const fingerprintOf = (spki: Uint8Array): string => `sha256:${sha256Hex(spki)}`;

export const isFingerprint = (text: string): boolean => /^sha256:[0-9a-f]{64}$/.test(text);

/** True for what says it is such a list, however badly it does. */
export const isIssuerManifest = (value: unknown): boolean => member(value, "format") === FORMAT;

const messageOf = (body: IssuerManifestBody) => utf8(`casemate/issuers/1\n${canonicalJson(body)}`);

/** `sign` holds the private key of `spki`; this library never does. */
export function signIssuerManifest(
  facts: Pick<IssuerManifestBody, "issued_at" | "issuers" | "revoked_keys">,
  spki: Uint8Array,
  sign: (message: Uint8Array) => Uint8Array,
): IssuerManifest {
  const { issued_at, issuers, revoked_keys } = facts;
  const body: IssuerManifestBody = {
    ...{ format: FORMAT, identity_public_key: toBase64Text(spki), fingerprint: fingerprintOf(spki) },
    ...{ issued_at, issuers, revoked_keys },
  };
  return { ...body, signature: toBase64Text(sign(messageOf(body))) };
}

/** `pin`: `sha256:` and 64 hex digits, had from elsewhere. A list that does not hold is no list, and no reason to go on without one. */
export function openIssuerManifest(value: unknown, pin: string): OpenedManifest | ManifestFault {
  if (!isManifest(value)) return "malformed";
  const { signature: text, ...body } = value;
  const spki = readPublicKey(body.identity_public_key);
  const signature = readSignature(text);
  if (typeof spki === "string" || typeof signature === "string") return "malformed";
  const fingerprint = fingerprintOf(spki);
  if (fingerprint !== pin || fingerprint !== body.fingerprint) return "fingerprint_mismatch";
  if (!signatureHolds(spki, messageOf(body), signature)) return "signature_invalid";
  return {
    issuers: body.issuers.map(({ issuer_id, public_key }) => ({
      issuerId: issuer_id,
      publicKey: public_key,
    })),
    revokedIssuerIds: new Set(body.issuers.filter(({ revoked }) => revoked).map((one) => one.issuer_id)),
    revokedKeyIds: new Set(body.revoked_keys),
    issuedAt: body.issued_at,
  };
}

const MEMBERS = [
  ...["fingerprint", "format", "identity_public_key", "issued_at", "issuers", "revoked_keys", "signature"],
];

/** The member set is closed: what is not read is not there to be believed. */
function isManifest(value: unknown): value is IssuerManifest {
  if (!isMembers(value) || !hasExactly(value, MEMBERS) || value.format !== FORMAT) return false;
  const { issuers, revoked_keys, identity_public_key, fingerprint, issued_at, signature } = value;
  return (
    [identity_public_key, fingerprint, signature].every((text) => typeof text === "string") &&
    typeof issued_at === "string" &&
    isWireTime(issued_at) &&
    Array.isArray(issuers) &&
    issuers.every(isIssuerEntry) &&
    Array.isArray(revoked_keys) &&
    revoked_keys.every((id) => typeof id === "string")
  );
}

const isIssuerEntry = (value: unknown) =>
  isMembers(value) &&
  hasExactly(value, ["issuer_id", "public_key", "revoked"]) &&
  typeof value.issuer_id === "string" &&
  typeof value.public_key === "string" &&
  typeof readPublicKey(value.public_key) !== "string" &&
  typeof value.revoked === "boolean";

const hasExactly = (value: object, names: readonly string[]) =>
  Object.keys(value).toSorted().join() === names.join();
