// SPDX-License-Identifier: Apache-2.0
/**
 * The compose policy, asked in threads of its own. Reading a text of the size that is allowed can take
 * a second, whoever wrote it meant it so, and in the thread that serves everybody nobody else would be
 * answered meanwhile.
 *
 *  A. Of one account one text is read at a time, so an account that sends many waits for itself.
 *  B. A text that takes too long, or more memory than there is for it, is refused, and its thread ended.
 *  C. What waits is bounded, for each account and together; who comes then is told to come later.
 *  D. What is short and plain is read here and at once: passing it to a thread costs more than reading it
 *     (0.2 ms). What makes reading slow is brackets, anchors and long values, and of those it has few: the
 *     worst text that is taken for plain costs about 5 ms.
 */
import { Worker } from "node:worker_threads";
import { Fault } from "#contract/errors.ts";
import { type ComposeAsk, type ComposeVerdict, checkCompose } from "./check.ts";
import type { JudgeAnswer } from "./worker.ts";

export interface ComposeJudge {
  judge(account: string, ask: ComposeAsk): Promise<ComposeVerdict>;
  close(): Promise<void>;
}

export interface JudgeOptions {
  threads?: number;
  timeLimitMs?: number;
  waitingMax?: number;
  waitingPerAccountMax?: number;
}

/** Thirty times what the worst text takes by itself: the machine may have more to do. */
const TIME_LIMIT_MS = 30_000;
const MEMORY_MIB = 256;

/** D. In characters, and how many. */
const PLAIN = { text: 2048, marks: 48, names: 32, values: 512 };

function isPlain({ text, env, files }: ComposeAsk): boolean {
  if (text.length > PLAIN.text || files.length > PLAIN.names) return false;
  const values = Object.values(env);
  if (values.length > PLAIN.names || values.reduce((sum, one) => sum + one.length, 0) > PLAIN.values)
    return false;
  let marks = 0;
  for (const mark of text) if ("[]{}&*!?$%|>".includes(mark) && ++marks > PLAIN.marks) return false;
  return true;
}

interface Case {
  account: string;
  ask: ComposeAsk;
  resolve(verdict: ComposeVerdict): void;
  reject(error: unknown): void;
}

export function openJudge(options: JudgeOptions = {}): ComposeJudge {
  return new Judges({
    ...{ threads: 2, timeLimitMs: TIME_LIMIT_MS, waitingMax: 256, waitingPerAccountMax: 16 },
    ...options,
  });
}

class Judges implements ComposeJudge {
  readonly #options: Required<JudgeOptions>;
  #idle: Worker[] = [];
  readonly #all = new Set<Worker>();
  readonly #busy = new Set<string>();
  readonly #waiting: Case[] = [];
  #closed = false;

  constructor(options: Required<JudgeOptions>) {
    this.#options = options;
  }

  async judge(account: string, ask: ComposeAsk): Promise<ComposeVerdict> {
    if (isPlain(ask)) return checkCompose(ask);
    const own = this.#waiting.filter((each) => each.account === account).length;
    const { waitingMax, waitingPerAccountMax } = this.#options;
    if (this.#closed || this.#waiting.length >= waitingMax || own >= waitingPerAccountMax)
      throw new Fault("platform.overloaded");
    return new Promise((resolve, reject) => {
      this.#waiting.push({ account, ask, resolve, reject });
      this.#next();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { reject } of this.#waiting.splice(0)) reject(new Fault("platform.overloaded"));
    await Promise.all([...this.#all].map((worker) => worker.terminate()));
  }

  /** A */
  #next(): void {
    for (;;) {
      const at = this.#waiting.findIndex(({ account }) => !this.#busy.has(account));
      const free = this.#idle.length > 0 || this.#all.size < this.#options.threads;
      if (at < 0 || !free || this.#closed) return;
      const [one] = this.#waiting.splice(at, 1) as [Case];
      this.#busy.add(one.account);
      this.#hear(one, this.#idle.pop() ?? this.#begin()).finally(() => {
        this.#busy.delete(one.account);
        this.#next();
      });
    }
  }

  async #hear(one: Case, worker: Worker): Promise<void> {
    const late = setTimeout(() => void worker.terminate(), this.#options.timeLimitMs);
    try {
      const answer = await answerOf(worker, one.ask);
      if (answer === null && this.#closed) one.reject(new Fault("platform.overloaded"));
      else if (answer === null)
        one.resolve(TOO_LONG); // B
      else if ("verdict" in answer) one.resolve(answer.verdict);
      else one.reject(new Error(`the compose policy failed: ${answer.fault}`));
      if (this.#all.has(worker)) this.#idle.push(worker);
    } finally {
      clearTimeout(late);
    }
  }

  #begin(): Worker {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), {
      name: "compose",
      env: {},
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: MEMORY_MIB },
    });
    worker.on("error", () => {}); // out of memory, for one; `exit` follows
    worker.on("exit", () => {
      this.#all.delete(worker);
      this.#idle = this.#idle.filter((each) => each !== worker);
    });
    worker.unref();
    this.#all.add(worker);
    return worker;
  }
}

/** Null when the thread ended over it. */
function answerOf(worker: Worker, ask: ComposeAsk): Promise<JudgeAnswer | null> {
  return new Promise((resolve) => {
    const done = (answer: JudgeAnswer | null) => {
      worker.off("message", done).off("exit", gone);
      resolve(answer);
    };
    const gone = () => done(null);
    worker.on("message", done).on("exit", gone);
    worker.postMessage(ask);
  });
}

const TOO_LONG: ComposeVerdict = {
  ok: false,
  violations: [
    { path: "", line: 1, message: "The document takes longer to read, or more memory, than it is given." },
  ],
  warnings: [],
};
