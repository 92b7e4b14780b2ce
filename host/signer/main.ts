// SPDX-License-Identifier: Apache-2.0
/**
 * The resident signer: one process per host, a uid of its own, no capabilities, no network use. It
 * reads requests as JSON lines on stdin and answers on stdout in the order it finishes them; it ends
 * when stdin does, and every key it held ends with it.
 *
 * The attacker is somebody who can make the host ask: they can have proofs signed that lie about what
 * was measured (the operator is trusted for that, and the proof says so), but not a second proof with
 * a session's key, nor a malformed one. Against root on the host nothing here helps: it can read the
 * sealed key and the key that seals it.
 */
import { createInterface } from "node:readline";
import { type ImageSignature, imageMessage } from "#evidence/images/signature.ts";
import type { ProofParts } from "#evidence/proofs/build.ts";
import { fromBase64Text, toBase64Text } from "#evidence/proofs/encoding.ts";
import { ed25519Verify } from "#evidence/proofs/primitives.ts";
import { IssuerKey } from "./issuer.ts";
import { SessionKeys } from "./session-keys.ts";

export type SignerRequest =
  | { op: "open"; kek: string }
  | { op: "newKey"; sessionId: string }
  | { op: "sign"; keyId: string; parts: ProofParts }
  | { op: "discard"; keyId: string }
  | { op: "rotate" }
  | { op: "signImage"; metadataSha256: string }
  | { op: "probe" };

let issuer: IssuerKey | undefined;
let keys: SessionKeys | undefined;

async function serve(request: SignerRequest): Promise<unknown> {
  if (request.op === "open") {
    if (issuer) throw new Error("already open");
    issuer = await IssuerKey.open(Buffer.from(request.kek, "base64"));
    keys = new SessionKeys(issuer);
    return { issuers: issuer.issuers(), pid: process.pid };
  }
  if (!issuer || !keys) throw new Error("not open");
  switch (request.op) {
    case "newKey":
      return keys.newKey(request.sessionId);
    case "sign":
      return keys.sign(request.keyId, request.parts);
    case "discard":
      return { discarded: keys.discard(request.keyId) };
    case "rotate":
      return { issuers: await issuer.rotate() };
    case "signImage":
      return signImage(issuer, request.metadataSha256);
    case "probe":
      return { ok: probe(issuer) };
    default:
      throw new Error("unknown operation");
  }
}

/** The message is made here, of a hash: what is signed for an image can be nothing else. */
function signImage(key: IssuerKey, metadataSha256: string): ImageSignature {
  const sig = toBase64Text(key.sign(imageMessage(metadataSha256)));
  return { v: 1, metadata_sha256: metadataSha256, issuer_id: key.issuerId(), sig };
}

/** A signature of the issuer key verifies, and not for another message. */
function probe(key: IssuerKey): boolean {
  const spki = fromBase64Text(key.issuers().at(-1)!.publicKey)!;
  const message = Buffer.from(`casemate/signer/probe ${Date.now()}`);
  const signature = key.sign(message);
  const held = ed25519Verify(spki, message, signature);
  message[0]! ^= 1;
  return held && !ed25519Verify(spki, message, signature);
}

function revive(key: string, value: unknown): unknown {
  return (key === "startedAt" || key === "endedAt") && typeof value === "string" ? new Date(value) : value;
}

// The host is gone; its stdin says so too, and there is nobody left to answer.
process.stdout.on("error", () => process.exit(0));
for (const signal of ["SIGINT", "SIGHUP", "SIGUSR2"] as const) process.on(signal, () => {});
createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, ...request } = JSON.parse(line, revive) as { id: number } & SignerRequest;
    let answer: object;
    try {
      answer = { id, result: await serve(request) };
    } catch (error) {
      answer = { id, error: error instanceof Error ? error.message : String(error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  })
  .on("close", () => process.exit(0));
