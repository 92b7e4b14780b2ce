// SPDX-License-Identifier: Apache-2.0
/**
 * The path from a leaf to a pinned root, found among certificates in any order, with any others
 * among them. Whoever filled the folder is the attacker: names only choose candidates, the root is
 * known by its fingerprint, and signatures decide.
 */

import { hexOf } from "../bytes.ts";
import { sha256 } from "../primitives.ts";
import type { Certificate } from "../x509/certificate.ts";
import { CANDIDATES_MAX, faultOfIssue } from "../x509/path.ts";
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

const ALGORITHM = "rsa-pss-sha384";

/**
 * Why an intermediate is none between this leaf and this root; null when it is. Both signatures are
 * checked at once. The root's own is not: its every byte is pinned.
 */
export async function faultOfLink(
  leaf: Certificate,
  intermediate: Certificate,
  root: Certificate,
): Promise<string | null> {
  const [above, below] = await Promise.all([
    faultOfIssue(root, intermediate, ALGORITHM),
    faultOfIssue(intermediate, leaf, ALGORITHM),
  ]);
  return above ?? below;
}
