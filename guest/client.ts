// SPDX-License-Identifier: Apache-2.0
/**
 * The host's side of the conversation with one guest, over a stream that somebody else opened. It waits for the
 * guest's `welcome`, which is also how a host knows that the guest is up: the guest reads its port only then.
 *
 * The guest is not believed: an answer to nothing, a line that is none, or one that does not end closes the conversation and
 * rejects what waits. Answers' members are the guest's own words; a caller that acts on one judges it first.
 */
import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import { LineDecoder } from "./lines.ts";
import {
  type Answer,
  encodeLine,
  type GuestErrorCode,
  type OperationName,
  type Operations,
  PROTOCOL_VERSION,
  parseGuestLine,
  type Welcome,
} from "./protocol.ts";

/** Questions under way; the guest answers one after the other. */
const WAITING_MAX = 64;

/** The conversation is over: the machine ended, or the guest said what no agent of ours says. */
export class GuestGone extends Error {}

/** It did not answer in time. */
export class GuestLate extends GuestGone {}

/** Not asked: as many questions as there may be wait for their answers. The conversation goes on. */
export class GuestBusy extends Error {}

/** The guest answered that it did not do it. */
export class GuestRefused extends Error {
  readonly code: GuestErrorCode;
  constructor(code: GuestErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export interface AskOptions {
  timeoutMs: number;
  signal?: AbortSignal;
}

export interface Guest {
  readonly welcome: Welcome["welcome"];
  ask<Name extends OperationName>(
    op: Name,
    args: Operations[Name][0],
    options: AskOptions,
  ): Promise<Operations[Name][1]>;
  /** Settles when the conversation is over, with the reason; never rejects. */
  readonly closed: Promise<GuestGone>;
  close(): void;
}

/** Resolves when the guest is up. The stream is ours from here on, also when this rejects. */
export async function greetGuest(stream: Duplex, { timeoutMs, signal }: AskOptions): Promise<Guest> {
  const session = randomBytes(16).toString("hex");
  const waiting = new Map<number, { resolve(ok: never): void; reject(error: Error): void }>();
  const welcomed = Promise.withResolvers<Welcome["welcome"]>();
  const ended = Promise.withResolvers<GuestGone>();
  let greeted = false;
  let over: GuestGone | null = null;
  let lastId = 0;

  const end = (why: string, cause?: unknown, Kind = GuestGone) => {
    if (over !== null) return;
    over = new Kind(why, { cause });
    stream.destroy();
    welcomed.reject(over);
    for (const { reject } of waiting.values()) reject(over);
    waiting.clear();
    ended.resolve(over);
  };
  const answered = (answer: Answer) => {
    const asked = answer.id === null ? undefined : waiting.get(answer.id);
    if (asked === undefined) return end("the guest answered what it was not asked");
    waiting.delete(answer.id!);
    if ("ok" in answer) asked.resolve(answer.ok as never);
    else asked.reject(new GuestRefused(answer.error.code, answer.error.message));
  };
  const heard = (line: Uint8Array) => {
    const said = parseGuestLine(line);
    if (!greeted) {
      if (said === null || !("welcome" in said) || said.welcome.session !== session) return;
      greeted = true;
      if (said.welcome.protocol === PROTOCOL_VERSION) return welcomed.resolve(said.welcome);
      return end(`the guest's agent ${said.welcome.agent.slice(0, 40)} does not speak our protocol`);
    }
    if (said === null) return end("the guest said what is no answer");
    if ("welcome" in said) return end("the guest greeted twice");
    answered(said);
  };

  const decoder = new LineDecoder();
  stream.on("data", (chunk: Buffer) => {
    try {
      for (const line of decoder.push(chunk)) if (over === null) heard(line);
    } catch (error) {
      end(error instanceof Error ? error.message : String(error), error);
    }
  });
  stream.on("error", (error) => end("the guest's port failed", error));
  stream.on("close", () => end("the guest's port was closed"));
  stream.on("end", () => end("the guest's port was closed"));

  const bounded = <T>(work: Promise<T>, what: string, bound: AskOptions) => {
    const give = (why: string, Kind: typeof GuestGone) => () => end(`${what}: ${why}`, undefined, Kind);
    const timer = setTimeout(give(`no answer within ${bound.timeoutMs} ms`, GuestLate), bound.timeoutMs);
    const abort = give("no longer wanted", GuestGone);
    if (bound.signal?.aborted) abort();
    bound.signal?.addEventListener("abort", abort, { once: true });
    return work.finally(() => {
      clearTimeout(timer);
      bound.signal?.removeEventListener("abort", abort);
    });
  };

  stream.write("\n");
  stream.write(encodeLine({ hello: { protocols: [PROTOCOL_VERSION], session } }));
  const welcome = await bounded(welcomed.promise, "greeting the guest", {
    timeoutMs,
    ...(signal && { signal }),
  });

  return {
    welcome,
    closed: ended.promise,
    close: () => end("closed by the host"),
    ask: async (op, args, options) => {
      if (over !== null) throw over;
      if (waiting.size >= WAITING_MAX) throw new GuestBusy("too many questions wait for this guest");
      const id = ++lastId;
      const line = encodeLine({ id, op, args });
      const answer = new Promise<never>((resolve, reject) => {
        waiting.set(id, { resolve, reject });
      });
      stream.write(line);
      // A late answer would meet nobody: after a question without an answer in time the conversation is not used again.
      return bounded(answer, op, options);
    },
  };
}
