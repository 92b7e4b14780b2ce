// SPDX-License-Identifier: Apache-2.0
/**
 * The strongest attacker a proof has: an operator who holds the session's key and the issuer's, and
 * signs what was not measured. Tests use it to reach the checks that stand behind the signature.
 */
import { sign } from "node:crypto";
import { publicKeyDigest, signingMessage } from "./build.ts";
import { issueCertificate } from "./certificate.ts";
import type { Cdp } from "./document.ts";
import { fromBase64Text, toBase64Text } from "./encoding.ts";
import { GENESIS, hashOf, linkHash } from "./hash.ts";
import type { Specimen } from "./specimen.ts";
import { STEPS } from "./steps.ts";

/**
 * A copy of the specimen's document, changed and then hashed, signed and certified again as it is.
 * `late` changes it once more when step 7 has sealed the hashes of steps 1 to 6.
 */
export function forge(
  { cdp, sessionKey, issuerKey }: Specimen,
  change: (cdp: Cdp) => void,
  late: (cdp: Cdp) => void = () => {},
): Cdp {
  const forged = structuredClone(cdp);
  change(forged);
  const { context, evidence, attestation } = forged;
  context.public_key_sha256 = publicKeyDigest(fromBase64Text(attestation.public_key)!);
  evidence[6].measured.evidence_hashes = evidence.slice(0, 6).map((one) => hashOf("cdp/1/evidence", one));
  late(forged);
  let prev = GENESIS;
  forged.chain = STEPS.map(({ step, subsystem, operation }, index) => {
    const evidence_hash = hashOf("cdp/1/evidence", evidence[index]!);
    const context_hash = hashOf("cdp/1/context", context);
    prev = linkHash({ prev, context_hash, step, subsystem, operation, evidence_hash });
    return { step, subsystem, operation, evidence_hash, chain_hash: prev };
  });
  forged.final_hash = prev;
  attestation.signature = toBase64Text(sign(null, signingMessage(prev), sessionKey));
  const { sig: _, ...body } = attestation.certificate;
  attestation.certificate = issueCertificate(body, (message) => sign(null, message, issuerKey));
  return forged;
}
