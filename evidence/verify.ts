// SPDX-License-Identifier: Apache-2.0
/**
 * Judges evidence of any kind that is known here, under one policy: which machine made it, and whether it is the
 * expected one. Pure and offline; the time is given. Total: every file gets a document.
 *
 *  A. `accepted` needs a part of the policy for this kind of evidence. Without one every other step is still
 *     made, and `uncheckable` says that they passed and nobody said what was expected.
 *  B. `hardware` is true for accepted evidence of a processor alone. That of a TPM never is.
 */
import type { PolicyFile } from "./policy/file.ts";
import { demandsOf } from "./policy/snp.ts";
import { tdxDemandsOf } from "./policy/tdx.ts";
import { tpmDemandsOf } from "./policy/tpm.ts";
import { type Evidence, EvidenceFault, type Platform, recogniseEvidence } from "./recognise.ts";
import { verifySnp } from "./snp/verify.ts";
import type { Step, Unasked } from "./steps.ts";
import { verifyTdx } from "./tdx/verify.ts";
import { verifyTpm } from "./tpm/verify.ts";

export interface EvidenceJudgement {
  atMs: number;
  policy: PolicyFile | null;
  /** What the guest was to bind: 64 bytes of report data, or a TPM's nonce. */
  bound?: Uint8Array;
  /** Of a TPM: the name of a key that has just opened a credential, in hex. */
  keyName?: string;
}

export interface EvidenceVerdict {
  platform: Platform | null;
  accepted: boolean;
  /** Every step passed, and there is no policy for this kind. */
  uncheckable: boolean;
  hardware: boolean;
  steps: Step[];
  unasked: Unasked[];
}

/**
 * @param beside Certificates, lists and collateral that are not in the file itself.
 * @example
 *   const { accepted, steps } = await verifyEvidence(file, [], { atMs: Date.now(), policy, bound });
 */
export async function verifyEvidence(
  file: Uint8Array,
  beside: readonly Uint8Array[],
  judgement: EvidenceJudgement,
): Promise<EvidenceVerdict> {
  let known: Evidence;
  try {
    known = recogniseEvidence(file, beside);
  } catch (fault) {
    const words = fault instanceof EvidenceFault ? fault.message : "it cannot be read";
    const steps = [{ name: "evidence", ok: false, detail: `The file is refused: ${words}.` }];
    return { platform: null, accepted: false, uncheckable: false, hardware: false, steps, unasked: [] };
  }
  const { judged, hasPolicy } = await judgeKnown(known, judgement);
  const { accepted: passed, steps, unasked } = judged;
  const accepted = passed && hasPolicy;
  return {
    platform: known.platform,
    accepted,
    uncheckable: passed && !hasPolicy,
    hardware: accepted && known.platform !== "tpm",
    steps,
    unasked,
  };
}

async function judgeKnown(known: Evidence, { atMs, policy, bound, keyName }: EvidenceJudgement) {
  const expected = bound === undefined ? {} : { reportData: bound };
  if (known.platform === "sev-snp") {
    const demands = demandsOf(policy?.snp ?? null, expected);
    return { judged: await verifySnp(known.evidence, { atMs, demands }), hasPolicy: policy?.snp != null };
  }
  if (known.platform === "tdx") {
    const demands = tdxDemandsOf(policy?.tdx ?? null, expected);
    return { judged: await verifyTdx(known.evidence, { atMs, demands }), hasPolicy: policy?.tdx != null };
  }
  const demands = tpmDemandsOf(policy?.tpm ?? null, {
    ...(bound !== undefined && { nonce: bound }),
    ...(keyName !== undefined && { keyName }),
  });
  return { judged: await verifyTpm(known.evidence, { atMs, demands }), hasPolicy: policy?.tpm != null };
}
