// SPDX-License-Identifier: Apache-2.0
/**
 * Control's end of an `attest` stream (contract/link/attest.ts). Whoever answers is the host, for its machine, and
 * is not believed: an answer is bounded and held to its schema here, and judged by judge.ts.
 */
import { Compile } from "typebox/compile";
import { ATTEST_LINE_MAX, AttestAnswer, type AttestAsk, BOX_CHANNEL } from "#contract/link/attest.ts";
import { CHUNK_MAX, type LinkStream } from "#link/port.ts";

const check = Compile(AttestAnswer);

type Evidence = Extract<AttestAnswer, { evidence: unknown }>;

export interface AttestTalk {
  evidence(purpose: "report" | "seal" | "login", nonce: Uint8Array): Promise<Evidence>;
  activate(credential: Uint8Array, secret: Uint8Array): Promise<Uint8Array>;
  /** The last word, as `refuse` is. */
  give(box: Uint8Array): Promise<void>;
  refuse(words: string): Promise<void>;
  /** Nothing more is asked. */
  close(): void;
}

const PARTS_MAX = 4096;

/** The machine, or its host for it, did not answer as one does. The words are ours. */
export class TalkFault extends Error {}

/** It answered that it would not. */
export class TalkRefused extends TalkFault {}

export function openTalk(stream: LinkStream, timeoutMs: number): AttestTalk {
  const chunks = stream.chunks()[Symbol.asyncIterator]();
  let heard: Buffer = Buffer.alloc(0);
  let parts: Uint8Array[] = [];
  const late = setTimeout(() => stream.cancel(), timeoutMs);
  void stream.ended.then(() => clearTimeout(late));

  const say = (ask: AttestAsk) => stream.write(Buffer.from(`${JSON.stringify(ask)}\n`));
  const nextLine = async (): Promise<Buffer> => {
    for (;;) {
      const end = heard.indexOf(10);
      if (end >= 0) {
        const line = heard.subarray(0, end);
        heard = heard.subarray(end + 1);
        return line;
      }
      const length = parts.reduce((sum, part) => sum + part.length, heard.length);
      if (length > ATTEST_LINE_MAX || parts.length > PARTS_MAX)
        throw new TalkFault("the machine's answer does not end");
      const next = await chunks.next();
      if (next.done === true) {
        const end = await stream.ended;
        throw new TalkFault(end.kind === "failed" ? end.detail : "the machine's host did not answer");
      }
      // Put together once for each line, whatever pieces a host makes of it.
      parts.push(next.value.bytes);
      if (!next.value.bytes.includes(10)) continue;
      heard = Buffer.concat([heard, ...parts]);
      parts = [];
    }
  };
  const ask = async (question: AttestAsk): Promise<AttestAnswer> => {
    await say(question).catch(() => {
      throw new TalkFault("the machine's host is away");
    });
    let answer: unknown;
    const line = await nextLine();
    try {
      answer = JSON.parse(line.toString());
    } catch {
      throw new TalkFault("the machine answered what is no JSON");
    }
    if (!check.Check(answer)) throw new TalkFault("the machine answered what is no answer");
    if ("error" in answer) throw new TalkRefused(answer.error);
    return answer;
  };
  const lastWord = async (word: AttestAsk, box?: Uint8Array) => {
    await say(word);
    for (let at = 0; box !== undefined && at < box.length; at += CHUNK_MAX)
      await stream.write(box.subarray(at, at + CHUNK_MAX), BOX_CHANNEL);
    stream.finish();
    const end = await stream.ended;
    if (end.kind !== "done") throw new TalkFault("the machine's host did not take it");
  };
  return {
    evidence: async (purpose, nonce) => {
      const answer = await ask({ ask: "evidence", purpose, nonce: Buffer.from(nonce).toString("hex") });
      if (!("evidence" in answer)) throw new TalkFault("the machine answered another question");
      return answer;
    },
    activate: async (credential, secret) => {
      const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
      const answer = await ask({ ask: "activate", credential: base64(credential), secret: base64(secret) });
      if (!("secret" in answer)) throw new TalkFault("the machine answered another question");
      return Buffer.from(answer.secret, "base64");
    },
    give: (box) => lastWord({ ask: "secrets", sizeBytes: box.length }, box),
    refuse: (words) => lastWord({ ask: "refused", words: words.slice(0, 1000) }),
    close: () => {
      stream.finish();
      stream.cancel();
    },
  };
}
