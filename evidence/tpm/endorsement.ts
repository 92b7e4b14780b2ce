// SPDX-License-Identifier: Apache-2.0
/**
 * Who vouches for a TPM: the certificate of its endorsement key (TCG, "EK Credential Profile"), up to a root
 * that the verifier names by its key. A maker's root means a TPM of that maker; the root of a TPM in
 * software means no more than that whoever holds that root made it.
 */
import { hexOf } from "../bytes.ts";
import { sha256 } from "../primitives.ts";
import { requireStep, StepFault } from "../steps.ts";
import { ALGORITHM_WORDS, type SignatureAlgorithm } from "../x509/algorithm.ts";
import { type Certificate, unknownCritical } from "../x509/certificate.ts";
import { childrenOf, DerFault, oidOf, readDer, TAG } from "../x509/der.ts";
import { candidatesFor, faultOfIssue } from "../x509/path.ts";

const EXTENDED_USAGE = "2.5.29.37";
const ALTERNATIVE_NAME = "2.5.29.17";
const EK_CERTIFICATE = "2.23.133.8.1";
const PATH_MAX = 4;
const ALGORITHMS: readonly SignatureAlgorithm[] = ["rsa-sha256", "ecdsa-p256-sha256"];

/** What the path says, in words; throws `StepFault` when there is none to one of the roots. */
export async function judgeEndorsement(
  certificate: Certificate,
  others: readonly Certificate[],
  rootKeys: readonly string[],
  atMs: number,
): Promise<string> {
  requireStep(isForEndorsement(certificate), "The certificate is none of an endorsement key.");
  // The name of the TPM's maker is in the alternative name, which says nothing that is acted on here.
  const critical = unknownCritical(certificate, [ALTERNATIVE_NAME, EXTENDED_USAGE]);
  requireStep(critical === null, `The certificate has the critical extension ${critical}, not known here.`);
  requireStep(rootKeys.length > 0, "The policy names no root of endorsement keys, so none is accepted.");
  requireCurrent(certificate, atMs);
  let current = certificate;
  for (let depth = 0; depth < PATH_MAX; depth++) {
    current = await issuerOf(current, others, atMs);
    if (rootKeys.includes(hexOf(await sha256(current.spki))))
      return `${current.subjectName || "A root"} of the policy's vouches for the endorsement key.`;
  }
  throw new StepFault("The path to a root is too long.");
}

async function issuerOf(
  issued: Certificate,
  all: readonly Certificate[],
  atMs: number,
): Promise<Certificate> {
  const { algorithm } = issued;
  if (algorithm === null || !ALGORITHMS.includes(algorithm))
    throw new StepFault(
      `A certificate is not signed with ${ALGORITHMS.map((one) => ALGORITHM_WORDS[one]).join(", or ")}.`,
    );
  let fault = "None of the roots that the policy names vouches for the endorsement key.";
  for (const candidate of candidatesFor(all, issued).filter(({ der }) => der !== issued.der)) {
    const found = await faultOfIssue(candidate, issued, algorithm);
    if (found === null) {
      requireCurrent(candidate, atMs);
      return candidate;
    }
    fault = found;
  }
  throw new StepFault(fault);
}

function requireCurrent({ subjectName, notBeforeMs, notAfterMs }: Certificate, atMs: number): void {
  const name = subjectName || "A certificate";
  requireStep(Number.isFinite(atMs), "The time to judge at is no time.");
  requireStep(atMs >= notBeforeMs, `${name} is not valid yet.`);
  requireStep(atMs <= notAfterMs, `${name} has expired.`);
}

function isForEndorsement({ extensions }: Certificate): boolean {
  const usage = extensions.get(EXTENDED_USAGE);
  if (usage === undefined) return false;
  try {
    return childrenOf(readDer(usage.value, TAG.sequence)).some((one) => oidOf(one) === EK_CERTIFICATE);
  } catch (fault) {
    if (fault instanceof DerFault) return false;
    throw fault;
  }
}
