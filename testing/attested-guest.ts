// SPDX-License-Identifier: Apache-2.0
/** What a verifier does with a guest's evidence of a TPM: judges it against the image, then has the TPM show that the key is its own. */
import { createHash } from "node:crypto";
import { type Binding, qualifyingDataOf, reportDataOf } from "#evidence/launch/report-data.ts";
import { parseTpmPolicy, tpmDemandsOf } from "#evidence/policy/tpm.ts";
import { recogniseEvidence } from "#evidence/recognise.ts";
import { shownKeyName } from "#evidence/tpm/challenge.ts";
import { type TpmVerdict, verifyTpm } from "#evidence/tpm/verify.ts";
import { parseCertificate } from "#evidence/x509/certificate.ts";

export interface TpmJudgement {
  bundle: object | null;
  binding: Binding;
  keys: { tls: string };
  /** Certificates above the endorsement key's, DER in base64; the last is the root. */
  chain: readonly string[];
  /** Expected registers, in hex. */
  pcrs: Record<number, string>;
  activate(ask: { credential: string; secret: string }): Promise<{ secret: string }>;
}

export async function judgeTpmGuest(given: TpmJudgement): Promise<TpmVerdict> {
  const known = recogniseEvidence(Buffer.from(JSON.stringify(given.bundle)));
  if (known.platform !== "tpm") throw new Error("the evidence is not of a TPM");
  const { evidence } = known;
  const root = parseCertificate(Buffer.from(given.chain.at(-1)!, "base64"));
  const policy = parseTpmPolicy({
    pcrs: Object.fromEntries(Object.entries(given.pcrs).map(([pcr, value]) => [pcr, [value]])),
    endorsementRoots: [createHash("sha256").update(root.spki).digest("hex")],
  });
  if (!policy.ok) throw new Error(policy.faults.join());
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  const keyName = await shownKeyName(evidence, async ({ blob, encryptedSeed }) => {
    const opened = await given.activate({ credential: base64(blob), secret: base64(encryptedSeed) });
    return Buffer.from(opened.secret, "base64");
  });
  const nonce = await qualifyingDataOf(
    await reportDataOf(Buffer.from(given.keys.tls, "base64"), given.binding),
  );
  const demands = tpmDemandsOf(policy.policy, {
    nonce,
    ...(keyName !== null && { keyName }),
  });
  return verifyTpm(evidence, { atMs: Date.now() + 60_000, demands });
}
