// SPDX-License-Identifier: Apache-2.0
/**
 * Asks a machine for evidence over TLS, for a nonce of this moment. Who signed its certificate does not matter here: which key it is
 * served with does, and that is what the evidence is held to. A TPM's key is shown to live in a TPM by a credential.
 */
import { randomBytes } from "node:crypto";
import { request } from "node:https";
import type { TLSSocket } from "node:tls";
import { evidenceOf, type ServedAnswer } from "#evidence/launch/served.ts";
import { type Evidence, recogniseEvidence } from "#evidence/recognise.ts";
import { shownKeyName } from "#evidence/tpm/challenge.ts";
import { UsageFault } from "./usage.ts";

const ANSWER_BYTES_MAX = 1024 * 1024;
/** A machine under emulation takes seconds for a quote. */
const ANSWER_MS = 60_000;
const NONCE_BYTES = 32;

/** Throws `UsageFault` when there is no answer to judge. */
export async function askMachine(
  url: URL,
  { nonce = randomBytes(NONCE_BYTES), connect }: { nonce?: Uint8Array; connect?: string },
): Promise<ServedAnswer> {
  const path = `/nilcc/api/v2/report?nonce=${Buffer.from(nonce).toString("hex")}`;
  const { spki, body } = await exchange(url, path, null, connect);
  const keyName = await activated(url, body, spki, connect);
  return { answer: body, spki, nonce, ...(keyName !== null && { keyName }) };
}

interface Exchanged {
  spki: Uint8Array;
  body: unknown;
}

function exchange(
  url: URL,
  path: string,
  send: object | null,
  connect: string | undefined,
): Promise<Exchanged> {
  const [host = "", port] = (connect ?? "").split(/:(?=\d+$)/);
  // Names below `localhost` are this machine (RFC 6761), which not every resolver knows.
  const local = /(^|\.)localhost\.?$/.test(url.hostname) ? "127.0.0.1" : url.hostname;
  const body = send === null ? null : JSON.stringify(send);
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new UsageFault(`${url.origin}: ${why}`));
    const asking = request(
      {
        ...{ host: host || local, port: port ?? (url.port || 443), servername: url.hostname, path },
        ...{ method: send === null ? "GET" : "POST", rejectUnauthorized: false, agent: false },
        headers: {
          ...{ host: url.host, accept: "application/json" },
          ...(body !== null && {
            "content-type": "application/json",
            "content-length": Buffer.byteLength(body),
          }),
        },
      },
      (response) => {
        const certificate = (response.socket as TLSSocket).getPeerX509Certificate();
        const parts: Buffer[] = [];
        let length = 0;
        response.on("data", (part: Buffer) => {
          length += part.length;
          if (length > ANSWER_BYTES_MAX) asking.destroy(new Error("its answer is too large"));
          else parts.push(part);
        });
        response.on("end", () => {
          if (response.statusCode !== 200)
            return fail(`it answered ${response.statusCode} to ${path.split("?")[0]}`);
          if (certificate === undefined) return fail("it showed no certificate");
          try {
            const text = Buffer.concat(parts).toString();
            const spki = certificate.publicKey.export({ format: "der", type: "spki" });
            resolve({ spki, body: JSON.parse(text) });
          } catch {
            fail("its answer is no JSON");
          }
        });
      },
    );
    asking.setTimeout(ANSWER_MS, () => asking.destroy(new Error("it did not answer in time")));
    asking.on("error", (error) => fail(error.message));
    asking.end(body ?? undefined);
  });
}

/** The name of the quote's key when the machine's TPM opened a credential for it, by the same key of TLS. */
async function activated(
  url: URL,
  answer: unknown,
  spki: Uint8Array,
  connect: string | undefined,
): Promise<string | null> {
  let known: Evidence;
  try {
    known = recogniseEvidence(evidenceOf(answer));
  } catch {
    // What is wrong with it is a step of the verdict.
    return null;
  }
  if (known.platform !== "tpm") return null;
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  return shownKeyName(known.evidence, async ({ blob, encryptedSeed }) => {
    const send = { credential: base64(blob), secret: base64(encryptedSeed) };
    const opened = await exchange(url, "/nilcc/api/v2/activate", send, connect).catch(() => null);
    const given = (opened?.body as { secret?: unknown } | null | undefined)?.secret;
    if (opened === null || typeof given !== "string" || !Buffer.from(spki).equals(opened.spki)) return null;
    return Buffer.from(given, "base64");
  });
}
