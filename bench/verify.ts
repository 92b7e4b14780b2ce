// SPDX-License-Identifier: Apache-2.0
/**
 * What verifying costs beyond the cryptography no verifier can leave out. The floor is one proof's
 * canonical forms, SHA-256s, Merkle root and two Ed25519 verifications, one with the session's key as
 * it comes (every proof has its own) and one with the issuer's key already imported. The ratio is
 * the floor's time over the verifier's, from bytes to verdict at level 2.
 */
import { createPublicKey, hash, verify } from "node:crypto";
import { certificateMessage, PinnedIssuer } from "#evidence/proofs/certificate.ts";
import type { Cdp } from "#evidence/proofs/document.ts";
import { fromBase64Text, utf8 } from "#evidence/proofs/encoding.ts";
import { canonicalJson, probeRoot } from "#evidence/proofs/hash.ts";
import { makeSpecimen } from "#evidence/proofs/specimen.ts";
import { verifyProof } from "#evidence/proofs/verify.ts";

const ROUNDS = 40;
const PER_ROUND = 40;

export async function benchVerify(): Promise<{ ratio: number; lines: string[] }> {
  const { bytes, cdp, issuer } = makeSpecimen();
  const floor = floorOf(cdp, issuer.publicKey);
  const issuers = [new PinnedIssuer(issuer)];
  const verifier = () => verifyProof(bytes, { issuers }).level === 2;
  for (let index = 0; index < 300; index++) {
    if (!floor() || !verifier()) throw new Error("the proof does not verify");
  }
  // Rounds alternate, so that a busy neighbour slows both, and the median round counts.
  const ratios: number[] = [];
  const verifierUs: number[] = [];
  const floorUs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    floorUs.push(microsecondsOf(floor));
    verifierUs.push(microsecondsOf(verifier));
    ratios.push(floorUs.at(-1)! / verifierUs.at(-1)!);
    await new Promise(setImmediate);
  }
  const ratio = median(ratios);
  return {
    ratio,
    lines: [
      `proof: ${bytes.length} bytes`,
      `floor: ${median(floorUs).toFixed(0)} µs (hashes and two signatures)`,
      `verify: ${median(verifierUs).toFixed(0)} µs (bytes to verdict, level 2)`,
      `ratio: ${ratio.toFixed(2)}`,
    ],
  };
}

function floorOf(cdp: Cdp, issuerKey: string): () => boolean {
  const pem = (text: string) => `-----BEGIN PUBLIC KEY-----\n${text.slice(7)}\n-----END PUBLIC KEY-----\n`;
  const session = pem(cdp.attestation.public_key);
  const issuer = createPublicKey(pem(issuerKey));
  const { sig, ...body } = cdp.attestation.certificate;
  const signature = fromBase64Text(cdp.attestation.signature)!;
  const certified = fromBase64Text(sig)!;
  const message = utf8(cdp.final_hash.slice(7));
  return () => {
    hash("sha256", canonicalJson(cdp.context));
    for (const one of cdp.evidence) hash("sha256", canonicalJson(one));
    for (const item of cdp.chain) {
      const { subsystem, operation, evidence_hash } = item;
      const link = { prev: item.chain_hash, context_hash: item.chain_hash, step: item.step };
      hash("sha256", canonicalJson({ ...link, subsystem, operation, evidence_hash }));
    }
    probeRoot(cdp.evidence[5].measured.probes);
    return (
      verify(null, message, session, signature) && verify(null, certificateMessage(body), issuer, certified)
    );
  };
}

function microsecondsOf(work: () => boolean): number {
  const start = performance.now();
  for (let index = 0; index < PER_ROUND; index++) work();
  return ((performance.now() - start) * 1000) / PER_ROUND;
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;
