// SPDX-License-Identifier: Apache-2.0
/**
 * The path from a leaf to a pinned root, found among certificates in any order, with any others
 * among them. Whoever filled the folder is the attacker: names only choose candidates, the root is
 * known by its fingerprint, and signatures decide.
 */

import { equalBytes, hexOf } from "../bytes.ts";
import { rsaPssVerify, sha256 } from "../primitives.ts";
import { type Certificate, mayIssue, unknownCritical } from "../x509/certificate.ts";
import { CANDIDATES_MAX } from "../x509/path.ts";
import type { Product, Roots } from "./products.ts";

export async function findRoot(
  certificates: readonly Certificate[],
  product: Product,
  roots: Roots,
): Promise<Certificate | null> {
  const named = certificates.filter(({ subjectName }) => subjectName === `ARK-${product}`);
  for (const candidate of named.slice(0, CANDIDATES_MAX))
    if (roots[product].includes(hexOf(await sha256(candidate.der)))) return candidate;
  return null;
}

/**
 * Why an intermediate is none between this leaf and this root; null when it is. Both signatures are
 * checked at once. The root's own is not: its every byte is pinned.
 */
export async function faultOfLink(
  leaf: Certificate,
  intermediate: Certificate,
  root: Certificate,
): Promise<string | null> {
  for (const one of [leaf, intermediate])
    if (one.algorithm !== "rsa-pss-sha384")
      return `${one.subjectName} is not signed with RSA-PSS and SHA-384.`;
  for (const one of [intermediate, root]) {
    if (!mayIssue(one)) return `${one.subjectName} is no certificate that may issue others.`;
    const critical = unknownCritical(one);
    if (critical !== null)
      return `${one.subjectName} has the critical extension ${critical}, not known here.`;
  }
  if (!equalBytes(intermediate.issuer, root.subject))
    return `${intermediate.subjectName} is not issued by ${root.subjectName}.`;
  const [byRoot, byIntermediate] = await Promise.all([
    rsaPssVerify(root.spki, intermediate.signed, intermediate.signature),
    rsaPssVerify(intermediate.spki, leaf.signed, leaf.signature),
  ]);
  if (!byRoot) return `${root.subjectName} did not sign ${intermediate.subjectName}.`;
  return byIntermediate ? null : `${intermediate.subjectName} did not sign the leaf.`;
}
