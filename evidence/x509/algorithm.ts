// SPDX-License-Identifier: Apache-2.0
/**
 * The algorithms that makers of processors sign certificates and revocation lists with. One that is not
 * here is none: the attacker would look for the weakest that a verifier takes.
 */
import { concatBytes, equalBytes } from "../bytes.ts";
import { ecdsaP256Verify, rsaPkcs1Verify, rsaPssVerify } from "../primitives.ts";
import { childrenOf, type Der, DerFault, oidOf, readDer, requireTag, smallInteger, TAG } from "./der.ts";

export type SignatureAlgorithm = "rsa-pss-sha384" | "rsa-sha256" | "ecdsa-p256-sha256";

export const ALGORITHM_WORDS: Record<SignatureAlgorithm, string> = {
  "rsa-pss-sha384": "RSA-PSS and SHA-384",
  "rsa-sha256": "RSA (PKCS #1) and SHA-256",
  "ecdsa-p256-sha256": "ECDSA on P-256 and SHA-256",
};

export interface Signed {
  signed: Uint8Array;
  algorithm: SignatureAlgorithm | null;
  signature: Uint8Array;
}

/** Whether the key signed this, by the algorithm that it names. False for a key of another kind. */
export async function signedBy(spki: Uint8Array, { signed, algorithm, signature }: Signed): Promise<boolean> {
  if (algorithm === "rsa-pss-sha384") return rsaPssVerify(spki, signed, signature);
  if (algorithm === "rsa-sha256") return rsaPkcs1Verify(spki, signed, signature);
  if (algorithm !== "ecdsa-p256-sha256") return false;
  const raw = rawEcdsa(signature, 32);
  return raw !== null && ecdsaP256Verify(spki, signed, raw);
}

/** r and s one after the other, from the SEQUENCE of two that X.509 has. Null when it is none in DER. */
export function rawEcdsa(signature: Uint8Array, bytes: number): Uint8Array | null {
  try {
    const [r, s, ...more] = childrenOf(readDer(signature, TAG.sequence));
    if (more.length > 0) return null;
    return concatBytes(unsigned(r, bytes), unsigned(s, bytes));
  } catch (fault) {
    if (fault instanceof DerFault) return null;
    throw fault;
  }
}

function unsigned(der: Der | undefined, bytes: number): Uint8Array {
  const { body } = requireTag(der, TAG.integer);
  const [first, second] = body;
  if (first === undefined || first >= 0x80) throw new DerFault("an integer is empty or negative");
  if (first === 0 && second !== undefined && second < 0x80) throw new DerFault("an integer is not minimal");
  const digits = first === 0 ? body.subarray(1) : body;
  if (digits.length > bytes) throw new DerFault("an integer is too large");
  return concatBytes(new Uint8Array(bytes - digits.length), digits);
}

/** Whoever forges a certificate may name a weaker algorithm in the part that is not signed, so both must agree. */
export function algorithmOf(inner: Der | undefined, outer: Der | undefined): SignatureAlgorithm | null {
  if (inner === undefined || outer === undefined || !equalBytes(inner.whole, outer.whole)) return null;
  try {
    const [oid, parameters, ...more] = childrenOf(requireTag(inner, TAG.sequence));
    if (more.length > 0) return null;
    const name = oidOf(oid);
    // RFC 5758, 3.2: no parameters. The curve is the key's, and is held to when the key is read.
    if (name === ECDSA_SHA256) return parameters === undefined ? "ecdsa-p256-sha256" : null;
    // RFC 4055, 5: the parameters are NULL.
    if (name === RSA_SHA256) return isNull(parameters) ? "rsa-sha256" : null;
    return name === PSS && isSha384Throughout(parameters) ? "rsa-pss-sha384" : null;
  } catch (fault) {
    if (fault instanceof DerFault) return null;
    throw fault;
  }
}

const ECDSA_SHA256 = "1.2.840.10045.4.3.2";
const RSA_SHA256 = "1.2.840.113549.1.1.11";
const PSS = "1.2.840.113549.1.1.10";
const MGF1 = "1.2.840.113549.1.1.8";
const SHA384 = "2.16.840.1.101.3.4.2.2";

/** RFC 4055, 3.1. AMD writes the trailer's default out in some certificates and not in others; both mean 1. */
function isSha384Throughout(parameters: Der | undefined): boolean {
  const members = childrenOf(requireTag(parameters, TAG.sequence), 4);
  const [hash, mask, salt, trailer] = [0xa0, 0xa1, 0xa2, 0xa3].map((tag, index) =>
    index === 3 && members.length === 3 ? undefined : onlyChild(requireTag(members[index], tag)),
  );
  const [maskOid, maskHash, ...rest] = childrenOf(requireTag(mask, TAG.sequence));
  return (
    isSha384(hash) &&
    oidOf(maskOid) === MGF1 &&
    isSha384(maskHash) &&
    rest.length === 0 &&
    smallInteger(salt) === 48 &&
    (trailer === undefined || smallInteger(trailer) === 1)
  );
}

function isSha384(algorithm: Der | undefined): boolean {
  const [oid, parameters, ...more] = childrenOf(requireTag(algorithm, TAG.sequence));
  const empty = parameters === undefined || isNull(parameters);
  return oidOf(oid) === SHA384 && empty && more.length === 0;
}

function isNull(der: Der | undefined): boolean {
  return der?.tag === TAG.null && der.body.length === 0;
}

function onlyChild(der: Der): Der {
  const [child, ...more] = childrenOf(der);
  if (child === undefined || more.length > 0) throw new DerFault("an element has not exactly one member");
  return child;
}
