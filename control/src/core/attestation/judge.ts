// SPDX-License-Identifier: Apache-2.0
/**
 * Judges a machine of ours: fresh evidence for a nonce of this moment, held to what control itself knows of the image and the
 * launch. The attacker is the machine's host, who may run another guest, another launch, an old one, or answer in a
 * guest's place. What is sealed afterwards is sealed to the key that this evidence binds.
 *
 * A machine with a TPM: the quote is worth what its key is, so the key is shown to live in the TPM whose certificate
 * the host's authority signed, by a credential that only that TPM opens. That authority is the host's own; see
 * `hardware` of every verdict.
 */
import { randomBytes } from "node:crypto";
import {
  type LoginBinding,
  loginReportDataOf,
  qualifyingDataOf,
  reportDataOf,
} from "#evidence/launch/report-data.ts";
import { parsePolicyFile } from "#evidence/policy/file.ts";
import { type Evidence, recogniseEvidence } from "#evidence/recognise.ts";
import { shownKeyName } from "#evidence/tpm/challenge.ts";
import { type EvidenceVerdict, verifyEvidence } from "#evidence/verify.ts";
import type { Collateral } from "./collateral.ts";
import { type AttestTalk, TalkRefused } from "./talk.ts";

export interface Asked {
  purpose: "report" | "seal" | "login";
  /** What evidence for `login` is to bind. */
  login?: Omit<LoginBinding, "nonce">;
  /** Of a verifier; ours, new for each, where nobody gave one. */
  nonce?: Uint8Array;
  /** A policy file as JSON; one that is none accepts nothing. */
  policy: object;
  /** Certificates and lists that are no part of the machine's answer: DER. */
  beside: readonly Uint8Array[];
  /** Whose machine it is. */
  account: string;
  /** Finds more of them, by what the evidence is. */
  collateral: Pick<Collateral, "forEvidence">;
  atMs: number;
}

export interface Judged {
  verdict: EvidenceVerdict;
  /** X25519; only a `seal` binds it. */
  sealingKey: Uint8Array;
  /** DER SubjectPublicKeyInfo. */
  tlsKey: Uint8Array;
  nonce: Uint8Array;
  /** What the evidence had to bind: the report data, or of a TPM its hash. */
  bound: Uint8Array;
  /** As it was judged, to be kept and shown: a bundle of evidence/recognise.ts. */
  bundle: Record<string, unknown> | null;
  /** With which it was judged. */
  beside: readonly Uint8Array[];
  /** Of a TPM: the name of the key that opened a credential, hex. */
  keyName: string | null;
}

const NONCE_BYTES = 32;

/** Throws `TalkFault` when the machine does not answer as one; a verdict otherwise, whatever it says. */
export async function judgeMachine(talk: AttestTalk, asked: Asked): Promise<Judged> {
  const nonce = asked.nonce ?? randomBytes(NONCE_BYTES);
  const { evidence, keys } = await talk.evidence(asked.purpose, nonce);
  const sealingKey = Buffer.from(keys.sealing, "base64");
  const tlsKey = Buffer.from(keys.tls, "base64");
  const reportData =
    asked.purpose === "login"
      ? await loginReportDataOf({ ...asked.login!, nonce })
      : await reportDataOf(
          tlsKey,
          asked.purpose === "seal" ? { form: "seal", nonce, sealingKey } : { form: "report", nonce },
        );
  const { bundle } = evidence;
  const file = Buffer.from(JSON.stringify(bundle ?? {}));
  const isTpm = bundle?.platform === "tpm";
  const beside = [...asked.beside, ...(await asked.collateral.forEvidence(file, asked.account))];
  const keyName = isTpm ? await activated(talk, file, beside) : null;
  const bound = isTpm ? await qualifyingDataOf(reportData) : reportData;
  const policy = parsePolicyFile(asked.policy);
  const verdict = await verifyEvidence(file, beside, {
    ...{ atMs: asked.atMs, policy: policy.ok ? policy.policy : null, bound },
    ...(keyName !== null && { keyName }),
  });
  return { verdict, sealingKey, tlsKey, nonce, bound, bundle, beside, keyName };
}

/** The name of the quote's key when it opened a credential in the TPM of the certificate, else null. */
async function activated(
  talk: AttestTalk,
  file: Uint8Array,
  beside: readonly Uint8Array[],
): Promise<string | null> {
  let known: Evidence;
  try {
    known = recogniseEvidence(file, beside);
  } catch {
    // What is wrong with it is a step of the verdict.
    return null;
  }
  if (known.platform !== "tpm") return null;
  return shownKeyName(known.evidence, ({ blob, encryptedSeed }) =>
    talk.activate(blob, encryptedSeed).catch((error: unknown) => {
      // A TPM opens no credential for a key that it does not hold.
      if (error instanceof TalkRefused) return null;
      throw error;
    }),
  );
}
