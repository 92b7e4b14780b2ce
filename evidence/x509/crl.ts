// SPDX-License-Identifier: Apache-2.0
/**
 * A certificate revocation list (RFC 5280, 5), as a maker of processors hands out one per issuer. The
 * attacker holds a certificate that was taken back, and chooses which
 * lists the verifier gets to see: so an old list counts as none, and one with rules that are not
 * known here (an indirect or a delta list) is refused, not read in part.
 */

import { equalBytes, hexOf } from "../bytes.ts";
import { StepFault } from "../steps.ts";
import { ALGORITHM_WORDS, algorithmOf, type SignatureAlgorithm, signedBy } from "./algorithm.ts";
import { type Certificate, commonName, maySignCrl } from "./certificate.ts";
import {
  bitBytes,
  childrenOf,
  type Der,
  DerFault,
  integerBytes,
  readDer,
  requireTag,
  smallInteger,
  TAG,
  timeOf,
} from "./der.ts";

const ENTRIES_MAX = 16_384;
const EXPLICIT_0 = 0xa0;
const TIME_TAGS: readonly number[] = [TAG.utcTime, TAG.generalizedTime];

export interface Crl {
  signed: Uint8Array;
  algorithm: SignatureAlgorithm | null;
  signature: Uint8Array;
  issuer: Uint8Array;
  issuerName: string;
  thisUpdateMs: number;
  nextUpdateMs: number;
  serials: ReadonlySet<string>;
}

/** Throws `DerFault`. */
export function parseCrl(der: Uint8Array): Crl {
  const [body, outer, signature, ...more] = childrenOf(readDer(der, TAG.sequence));
  if (more.length > 0) throw new DerFault("a revocation list has too many members");
  const signed = requireTag(body, TAG.sequence);
  const [version, inner, issuer, thisUpdate, nextUpdate, ...rest] = childrenOf(signed);
  if (smallInteger(version) !== 1) throw new DerFault("a revocation list is not version 2");
  const entries = rest[0]?.tag === TAG.sequence ? rest.shift() : undefined;
  const extensions = rest[0]?.tag === EXPLICIT_0 ? rest.shift() : undefined;
  if (rest.length > 0) throw new DerFault("a revocation list has too many members");
  if (extensions !== undefined) for (const list of childrenOf(extensions, 1)) refuseCritical(list);
  return {
    signed: signed.whole,
    algorithm: algorithmOf(inner, outer),
    signature: bitBytes(signature),
    issuer: requireTag(issuer, TAG.sequence).whole,
    issuerName: commonName(issuer!),
    thisUpdateMs: timeOf(thisUpdate),
    // RFC 5280 demands it: without it, nobody could say when a list is too old.
    nextUpdateMs: timeOf(nextUpdate),
    serials: new Set(entries === undefined ? [] : childrenOf(entries, ENTRIES_MAX).map(serialOf)),
  };
}

function serialOf(entry: Der): string {
  const [serial, time, extensions] = childrenOf(requireTag(entry, TAG.sequence), 3);
  if (time === undefined || !TIME_TAGS.includes(time.tag)) throw new DerFault("an entry has no date");
  if (extensions !== undefined) refuseCritical(extensions);
  return hexOf(integerBytes(serial));
}

/** Its number, its issuer's key id or an entry's reason change nothing; DER writes the flag only where it is true. */
function refuseCritical(list: Der): void {
  for (const extension of childrenOf(requireTag(list, TAG.sequence))) {
    const members = childrenOf(extension, 3);
    if (members.length === 3) throw new DerFault("a revocation list has a critical extension");
  }
}

/** One certificate of a path and the one above it. */
export interface Link {
  issuer: Certificate;
  issued: Certificate;
  /** Without a list of this issuer nothing can be told, and nothing is accepted. */
  listRequired: boolean;
}

/**
 * What the lists say of a path, in words; throws `StepFault` when it is revoked or cannot be told. Every list
 * of an issuer is held to the same rules, so that an old one beside a new one does not pass unseen.
 */
export async function judgeRevocation(
  lists: readonly Crl[],
  links: readonly Link[],
  algorithm: SignatureAlgorithm,
  atMs: number,
): Promise<string> {
  const said: string[] = [];
  const held = new Set<Crl>();
  for (const { issuer, issued, listRequired } of links) {
    const own = lists.filter((list) => equalBytes(list.issuer, issuer.subject));
    for (const list of own) {
      if (!held.has(list)) await requireValid(list, issuer, algorithm, atMs);
      held.add(list);
    }
    if (own.some(({ serials }) => serials.has(issued.serialHex)))
      throw new StepFault(
        `${issuer.subjectName} has revoked ${issued.subjectName} (serial ${issued.serialHex})`,
      );
    if (own.length > 0) said.push(`${issuer.subjectName} has not revoked ${issued.subjectName}`);
    else if (listRequired) throw new StepFault(`no revocation list is of ${issuer.subjectName}`);
  }
  return said.join("; ");
}

async function requireValid(
  list: Crl,
  issuer: Certificate,
  algorithm: SignatureAlgorithm,
  atMs: number,
): Promise<void> {
  const name = `the revocation list of ${list.issuerName}`;
  if (!maySignCrl(issuer)) throw new StepFault(`${name} is signed by a key that may not sign lists`);
  if (list.algorithm !== algorithm)
    throw new StepFault(`${name} is not signed with ${ALGORITHM_WORDS[algorithm]}`);
  if (!(await signedBy(issuer.spki, list))) throw new StepFault(`the signature of ${name} does not verify`);
  if (atMs < list.thisUpdateMs) throw new StepFault(`${name} is from a time to come`);
  if (atMs > list.nextUpdateMs) throw new StepFault(`${name} is out of date`);
}
