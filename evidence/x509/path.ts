// SPDX-License-Identifier: Apache-2.0
/**
 * From a certificate to the one above it, among certificates in any order and of any origin. Whoever handed
 * them over is the attacker: names only choose candidates, signatures decide.
 */
import { equalBytes } from "../bytes.ts";
import { ALGORITHM_WORDS, type SignatureAlgorithm, signedBy } from "./algorithm.ts";
import { type Certificate, mayIssue, unknownCritical } from "./certificate.ts";

/** Many certificates of one name would make the verifier compute for as long as the attacker likes. */
export const CANDIDATES_MAX = 8;

/** Certificates that bear the name of the issuer of `issued`. */
export function candidatesFor(certificates: readonly Certificate[], issued: Certificate): Certificate[] {
  const distinct: Certificate[] = [];
  for (const one of certificates) {
    if (!equalBytes(one.subject, issued.issuer) || distinct.some(({ der }) => equalBytes(der, one.der)))
      continue;
    if (distinct.push(one) === CANDIDATES_MAX) break;
  }
  return distinct;
}

/** Why one certificate has not issued another; null when it has. */
export async function faultOfIssue(
  issuer: Certificate,
  issued: Certificate,
  algorithm: SignatureAlgorithm,
): Promise<string | null> {
  const { subjectName: name } = issued;
  if (issued.algorithm !== algorithm) return `${name} is not signed with ${ALGORITHM_WORDS[algorithm]}.`;
  if (!mayIssue(issuer)) return `${issuer.subjectName} is no certificate that may issue others.`;
  const critical = unknownCritical(issuer);
  if (critical !== null)
    return `${issuer.subjectName} has the critical extension ${critical}, not known here.`;
  if (!equalBytes(issued.issuer, issuer.subject)) return `${name} is not issued by ${issuer.subjectName}.`;
  return (await signedBy(issuer.spki, issued)) ? null : `${issuer.subjectName} did not sign ${name}.`;
}
