// SPDX-License-Identifier: Apache-2.0
/**
 * What verifying costs beyond the cryptography no verifier can leave out. The floor is one proof's
 * canonical forms, SHA-256s, Merkle root and two Ed25519 verifications, one with the session's key as
 * it comes (every proof has its own) and one with the issuer's key already imported. The ratio is
 * the floor's time over the verifier's, from bytes to verdict at level 2.
 * Level 1 leaves out the certificate. Level 3 adds the hashes of an inclusion and of a consistency proof in a log
 * of a thousand, and the signature of the log's pinned key.
 */
import { createPublicKey, hash, verify } from "node:crypto";
import { type OpenedCheckpoint, openCheckpoint } from "#evidence/log/checkpoint.ts";
import { proofEntry } from "#evidence/log/entry.ts";
import type { Inclusion } from "#evidence/log/inclusion.ts";
import { makeLog } from "#evidence/log/specimen.ts";
import { extendsTree, includes } from "#evidence/log/tree.ts";
import { certificateMessage, PinnedIssuer } from "#evidence/proofs/certificate.ts";
import type { Cdp } from "#evidence/proofs/document.ts";
import { fromBase64Text, utf8 } from "#evidence/proofs/encoding.ts";
import { canonicalJson, probeRoot } from "#evidence/proofs/hash.ts";
import { leafHash } from "#evidence/proofs/merkle.ts";
import { makeSpecimen } from "#evidence/proofs/specimen.ts";
import { verifyProof } from "#evidence/proofs/verify.ts";

const ROUNDS = 40;
const PER_ROUND = 40;

export async function benchVerify(): Promise<{ ratio: number; lines: string[] }> {
  const { bytes, cdp, issuer } = makeSpecimen();
  const issuers = [new PinnedIssuer(issuer)];
  const verifier = () => verifyProof(bytes, { issuers }).level === 2;
  const { ratio, floorUs, verifierUs } = await compare(floorOf(cdp, issuer.publicKey), verifier);
  return {
    ratio,
    lines: [
      `proof: ${bytes.length} bytes`,
      `floor: ${floorUs.toFixed(0)} µs (hashes and two signatures)`,
      `verify: ${verifierUs.toFixed(0)} µs (bytes to verdict, level 2)`,
      `ratio: ${ratio.toFixed(2)}`,
    ],
  };
}

interface Compared {
  /** The floor's time over the verifier's. */
  ratio: number;
  floorUs: number;
  verifierUs: number;
}

const LOG_ENTRIES = 1000;
const HELD = 700;
const AT = 900;

/** Each level with its own floor. */
export async function benchLevels(): Promise<(Compared & { level: 1 | 2 | 3; goal: number })[]> {
  const { bytes, cdp, issuer } = makeSpecimen();
  const issuers = [new PinnedIssuer(issuer)];
  const certified = floorOf(cdp, issuer.publicKey);
  const log = makeLog();
  const entries = Array.from({ length: LOG_ENTRIES }, (_, at) =>
    at === AT ? proofEntry(cdp) : Buffer.from(`entry ${at}`),
  );
  const held = openCheckpoint(log.checkpoint(entries.slice(0, HELD)))!;
  const inclusion = log.inclusion(entries, AT, HELD);
  const transparency = { inclusion, trust: { held, keys: [log.noteKey] } };
  const pairs = [
    [1, 0.7, floorOf(cdp, null), () => verifyProof(bytes, { level: 1 }).valid],
    [2, 0.7, certified, () => verifyProof(bytes, { issuers, level: 2 }).level === 2],
    [
      ...([3, 0.6, floorOfLog(certified, cdp, inclusion, held, log.noteKey.raw)] as const),
      () => verifyProof(bytes, { issuers, level: 3, transparency }).level === 3,
    ],
  ] as const;
  const lines: (Compared & { level: 1 | 2 | 3; goal: number })[] = [];
  for (const [level, goal, floor, verifier] of pairs)
    lines.push({ level, goal, ...(await compare(floor, verifier)) });
  return lines;
}

/** The hashes that RFC 9162 has for both proofs, and one signature with a key imported for it. */
function floorOfLog(
  certified: () => boolean,
  cdp: Cdp,
  inclusion: Inclusion,
  held: OpenedCheckpoint,
  raw: Uint8Array,
): () => boolean {
  const shown = openCheckpoint(inclusion.checkpoint)!;
  const read = (texts: string[]) => texts.map((text) => Buffer.from(text, "base64"));
  const path = read(inclusion.proof);
  const since = read(inclusion.consistency!.proof);
  const pem = `-----BEGIN PUBLIC KEY-----\n${Buffer.concat([SPKI, raw]).toString("base64")}\n-----END PUBLIC KEY-----\n`;
  const text = utf8(shown.note.text);
  const signature = shown.note.signatures[0]!.bytes.subarray(4);
  return () =>
    certified() &&
    includes(leafHash(proofEntry(cdp)), AT, shown.size, path, shown.root) &&
    extendsTree(held, shown, since) &&
    verify(null, text, pem, signature);
}

const SPKI = Buffer.from("302a300506032b6570032100", "hex");

async function compare(floor: () => boolean, verifier: () => boolean): Promise<Compared> {
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
  return { ratio: median(ratios), floorUs: median(floorUs), verifierUs: median(verifierUs) };
}

/** Without an issuer, the certificate is left out. */
function floorOf(cdp: Cdp, issuerKey: string | null): () => boolean {
  const pem = (text: string) => `-----BEGIN PUBLIC KEY-----\n${text.slice(7)}\n-----END PUBLIC KEY-----\n`;
  const session = pem(cdp.attestation.public_key);
  const issuer = issuerKey === null ? null : createPublicKey(pem(issuerKey));
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
      verify(null, message, session, signature) &&
      (issuer === null || verify(null, certificateMessage(body), issuer, certified))
    );
  };
}

function microsecondsOf(work: () => boolean): number {
  const start = performance.now();
  for (let index = 0; index < PER_ROUND; index++) work();
  return ((performance.now() - start) * 1000) / PER_ROUND;
}

export const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;
