// SPDX-License-Identifier: Apache-2.0
/**
 * An X.509 certificate as makers of processors issue them (RFC 5280), read from DER. Reading believes
 * nothing: whether the algorithm, the dates and the names are right is asked by the steps of a
 * `verify.ts`, so that each failing thing is named by itself. A certificate is refused here only when
 * its bytes cannot mean one thing.
 */
import { hexOf } from "../bytes.ts";
import { algorithmOf, type SignatureAlgorithm } from "./algorithm.ts";
import {
  bitBytes,
  childrenOf,
  type Der,
  DerFault,
  integerBytes,
  oidOf,
  readDer,
  requireTag,
  smallInteger,
  TAG,
  textOf,
  timeOf,
} from "./der.ts";

export const CERTIFICATE_BYTES_MAX = 16 * 1024;

export interface Extension {
  critical: boolean;
  value: Uint8Array;
}

export interface Certificate {
  der: Uint8Array;
  /** What is signed. */
  signed: Uint8Array;
  /** What both places say, in the same bytes. Null when they differ, or say what is not known here. */
  algorithm: SignatureAlgorithm | null;
  signature: Uint8Array;
  serialHex: string;
  /** DER of the names, compared byte by byte, and their common names, printed. */
  issuer: Uint8Array;
  issuerName: string;
  subject: Uint8Array;
  subjectName: string;
  notBeforeMs: number;
  notAfterMs: number;
  spki: Uint8Array;
  extensions: ReadonlyMap<string, Extension>;
}

const EXPLICIT_0 = 0xa0;
const EXPLICIT_3 = 0xa3;
const COMMON_NAME = "2.5.4.3";

/** Throws `DerFault`. */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > CERTIFICATE_BYTES_MAX) throw new DerFault("a certificate is larger than 16 KiB");
  const [body, outer, signature, ...more] = childrenOf(readDer(der, TAG.sequence));
  if (more.length > 0) throw new DerFault("a certificate has too many members");
  const signed = requireTag(body, TAG.sequence);
  const [version, serial, inner, issuer, validity, subject, spki, extensions, ...rest] = childrenOf(signed);
  // Version 3 with extensions and nothing else: unique identifiers are in no certificate of these.
  const [number] = childrenOf(requireTag(version, EXPLICIT_0));
  if (smallInteger(number) !== 2 || rest.length > 0) throw new DerFault("the certificate is not version 3");
  const [notBefore, notAfter, ...others] = childrenOf(requireTag(validity, TAG.sequence));
  if (others.length > 0) throw new DerFault("a validity has too many members");
  return {
    der,
    signed: signed.whole,
    algorithm: algorithmOf(inner, outer),
    signature: bitBytes(signature),
    serialHex: hexOf(integerBytes(serial)),
    issuer: requireTag(issuer, TAG.sequence).whole,
    issuerName: commonName(issuer!),
    subject: requireTag(subject, TAG.sequence).whole,
    subjectName: commonName(subject!),
    notBeforeMs: timeOf(notBefore),
    notAfterMs: timeOf(notAfter),
    spki: requireTag(spki, TAG.sequence).whole,
    extensions: parseExtensions(requireTag(extensions, EXPLICIT_3)),
  };
}

/** The last common name of a name; empty when it has none. */
export function commonName(name: Der): string {
  let found = "";
  for (const set of childrenOf(requireTag(name, TAG.sequence), 16))
    for (const pair of childrenOf(requireTag(set, TAG.set), 4)) {
      const [type, value] = childrenOf(requireTag(pair, TAG.sequence), 2);
      if (oidOf(type) === COMMON_NAME) found = textOf(value);
    }
  return found;
}

/** One extension twice would leave it to the reader which one counts. */
export function parseExtensions(explicit: Der): ReadonlyMap<string, Extension> {
  const [list, ...more] = childrenOf(explicit);
  if (more.length > 0) throw new DerFault("extensions have too many members");
  const found = new Map<string, Extension>();
  for (const one of childrenOf(requireTag(list, TAG.sequence))) {
    const [type, ...rest] = childrenOf(requireTag(one, TAG.sequence), 3);
    const name = oidOf(type);
    const flag = rest.length === 2 ? requireTag(rest.shift(), TAG.boolean) : undefined;
    if (flag !== undefined && (flag.body.length !== 1 || flag.body[0] !== 0xff))
      throw new DerFault("an extension's critical flag is malformed");
    if (found.has(name)) throw new DerFault("an extension occurs twice");
    found.set(name, { critical: flag !== undefined, value: requireTag(rest[0], TAG.octets).body });
  }
  return found;
}

const BASIC_CONSTRAINTS = "2.5.29.19";
const KEY_USAGE = "2.5.29.15";
/** Extensions that are looked at here; a critical one that is not must end the path (RFC 5280, 4.2). */
const KNOWN = new Set([BASIC_CONSTRAINTS, KEY_USAGE]);

export function unknownCritical(
  { extensions }: Pick<Certificate, "extensions">,
  alsoKnown: readonly string[] = [],
): string | null {
  for (const [name, { critical }] of extensions)
    if (critical && !KNOWN.has(name) && !alsoKnown.includes(name)) return name;
  return null;
}

/** Without this, the holder of one chip's key could issue certificates for others. */
export function mayIssue(certificate: Certificate): boolean {
  const constraints = certificate.extensions.get(BASIC_CONSTRAINTS);
  if (constraints === undefined) return false;
  try {
    const [flag] = childrenOf(readDer(constraints.value, TAG.sequence), 2);
    return flag?.tag === TAG.boolean && flag.body[0] === 0xff && hasUsage(certificate, 5);
  } catch (fault) {
    if (fault instanceof DerFault) return false;
    throw fault;
  }
}

export function maySignCrl(certificate: Certificate): boolean {
  return hasUsage(certificate, 6);
}

/** RFC 5280, 4.2.1.3: bit 5 is keyCertSign, bit 6 cRLSign. */
function hasUsage({ extensions }: Certificate, bit: number): boolean {
  const usage = extensions.get(KEY_USAGE);
  if (usage === undefined) return false;
  try {
    const { body } = readDer(usage.value, TAG.bits);
    return ((body[1] ?? 0) & (0x80 >> bit)) !== 0;
  } catch (fault) {
    if (fault instanceof DerFault) return false;
    throw fault;
  }
}
