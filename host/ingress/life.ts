// SPDX-License-Identifier: Apache-2.0
/**
 * One life of the ingress process, from its start to its end.
 *
 *  A. It may have been taken over. What it says is parsed as a stranger's (messages.ts), and one that says
 *     something else, or too much, is ended. It gets no more by asking than by waiting.
 *  B. One that does not obey in time is ended: the next begins with what it did not take.
 */
import type { ChildProcess } from "node:child_process";
import { dirname } from "node:path";
import { spawnPart } from "#confine/spawn.ts";
import { readLines } from "./lines.ts";
import { type AttesterAnswer, type AttesterAsk, type Order, parseWord, type Word } from "./messages.ts";
import type { IngressRoute } from "./routes.ts";

const ENTRY = new URL("./main.ts", import.meta.url).pathname;
const ROOT = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
/** All that the process imports. */
const PROGRAM = [`${ROOT}/host/ingress`, `${ROOT}/confine`, `${ROOT}/package.json`];
const START_MS = 20_000;
const OBEY_MS = 5_000;
/** Handshakes with new names and requests for reports: far fewer in honest times. */
const WORDS_A_SECOND_MAX = 2_000;
const WORD_BYTES_MAX = 64 * 1024;
const UNREAD_BYTES_MAX = 64 * 1024 * 1024;

export interface Ports {
  httpPort: number;
  httpsPort: number;
}

export interface Answers {
  onEvent(event: string, facts: Record<string, unknown>): void;
  leafOf(domain: string): Promise<Extract<Order, { op: "leaf" }>["leaf"]>;
  attest(ask: AttesterAsk): Promise<AttesterAnswer | null>;
  proofOf(domain: string, token: string): string | null;
}

/** One life of the process. */
export class Life {
  readonly listening: Promise<Ports>;
  /** Resolves, with why, when nothing of it is left. */
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  readonly #answers: Answers;
  readonly #obeyed = new Map<number, () => void>();
  readonly #onListening = Promise.withResolvers<Ports>();
  #lastId = 0;
  #why: string | null = null;
  #words = 0;
  #wordsSince = 0;

  constructor(uid: number, { httpPort, httpsPort }: Ports, answers: Answers) {
    this.#answers = answers;
    this.listening = this.#onListening.promise;
    const lowPorts = [httpPort, httpsPort].some((port) => port > 0 && port < 1024);
    const privileged = process.getuid?.() === 0;
    this.#child = spawnPart({
      command: "prlimit",
      // No core dump may hold a key.
      args: [
        "--core=0:0",
        ...(privileged ? [] : ["setpriv", "--no-new-privs"]),
        ...[process.execPath, "--disable-warning=ExperimentalWarning", ENTRY],
      ],
      env: {},
      cwd: "/",
      confinement: privileged
        ? {
            ...{ uid, gid: uid, ownProcesses: true, writable: [] },
            readable: [...PROGRAM, dirname(process.execPath)],
            ...(lowPorts && { capabilities: ["net_bind_service"] }),
          }
        : null,
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.ended = this.#watch();
    const start = setTimeout(() => this.#end("it did not listen in time"), START_MS);
    void this.listening.catch(() => {}).finally(() => clearTimeout(start));
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  send(order: Order): void {
    const input = this.#child.stdin!;
    if (input.writableLength > UNREAD_BYTES_MAX) this.#end("it does not read");
    else input.write(`${JSON.stringify(order)}\n`);
  }

  /** B */
  async route(routes: readonly IngressRoute[]): Promise<void> {
    const id = ++this.#lastId;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#obeyed.set(id, resolve);
    const late = setTimeout(() => this.#end("it does not obey"), OBEY_MS);
    this.send({ op: "routes", id, routes });
    await Promise.race([promise, this.ended]);
    clearTimeout(late);
    this.#obeyed.delete(id);
  }

  async close(graceMs: number): Promise<void> {
    this.#child.stdin!.end();
    const late = setTimeout(() => this.#end("it was closed"), graceMs);
    await this.ended;
    clearTimeout(late);
  }

  #watch(): Promise<string> {
    const child = this.#child;
    child.stdin!.on("error", () => {});
    readLines(
      child.stdout!,
      WORD_BYTES_MAX,
      (line) => this.#heard(line),
      () => this.#end("it says too much"),
    );
    readLines(
      child.stderr!,
      WORD_BYTES_MAX,
      (line) => line.trim() !== "" && this.#answers.onEvent("ingress.stderr", { line: line.slice(0, 300) }),
      () => this.#end("it says too much"),
    );
    return new Promise((resolve) => {
      const over = (why: string) => {
        this.#why ??= why;
        this.#onListening.reject(new Error(`the ingress does not listen: ${this.#why}`));
        resolve(this.#why);
      };
      child.once("error", (error) => over(error.message));
      child.once("close", (code, signal) => over(`it ended by itself (${signal ?? code})`));
    });
  }

  #end(why: string): void {
    this.#why ??= why;
    this.#child.kill("SIGKILL");
  }

  #heard(line: string): void {
    if (this.#why !== null) return;
    const second = Math.floor(performance.now() / 1_000);
    if (second !== this.#wordsSince) [this.#words, this.#wordsSince] = [0, second];
    try {
      if (++this.#words > WORDS_A_SECOND_MAX) this.#end("it says too much");
      else this.#take(parseWord(line));
    } catch {
      this.#end("it said what it has no business to say"); // A
    }
  }

  #take(word: Word): void {
    const { leafOf, attest, proofOf, onEvent } = this.#answers;
    if (word.said === "listening") {
      const { httpPort, httpsPort } = word;
      this.#onListening.resolve({ httpPort, httpsPort });
    } else if (word.said === "deaf") this.#end(word.why);
    else if (word.said === "routes") this.#obeyed.get(word.id)?.();
    else if (word.said === "event") onEvent(word.event, word.facts);
    else if (word.said === "prove")
      this.send({ op: "proved", id: word.id, proof: proofOf(word.domain, word.token) });
    else if (word.said === "leaf")
      void leafOf(word.domain).then((leaf) => this.send({ op: "leaf", id: word.id, leaf }));
    else
      void attest(word.ask)
        .catch(() => null)
        .then((answer) => this.send({ op: "attested", id: word.id, answer }));
  }
}
