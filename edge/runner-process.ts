// SPDX-License-Identifier: Apache-2.0
/**
 * The agent's side of a runner: answers come in the order of the questions, and each has a time it may take
 * from when the one before was answered, so the next picture can be on its way while one is looked at. A
 * model is a stranger's program, so what runs it stands behind walls where there are any (walls.ts), and
 * what it says is a stranger's word: bounded, and held to its form.
 */
import { spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import { runAlone } from "../confine/alone.ts";
import { readAnswer } from "./answer.ts";
import type { Looked } from "./figures.ts";
import type { RunnerAnswer, RunnerAsk } from "./runner.ts";
import { programFiles } from "./walls.ts";
import type { WishedPipeline } from "./wish.ts";

const MODULE = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "./runner.ts" : "./runner.js", import.meta.url),
);
const QUIET = "--disable-warning=ExperimentalWarning";
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** Nobody reads after a runner's death what was to be written to it. */
const NOTHING = () => {};

/** What does not run, and whose pipelines it were, as far as that is known. */
export class RunFault extends Error {
  readonly devices: readonly string[];
  constructor(message: string, devices: readonly string[]) {
    super(message);
    this.devices = devices;
  }
}

export interface RunnerOptions {
  /** Null: as this user, with this user's rights. */
  walls: { memoryMiB: number } | null;
  /** The artefacts of its models: all of the agent's folder that it sees. */
  artifacts: readonly string[];
}

interface Question {
  timeoutMs: number;
  resolve(said: RunnerAnswer): void;
  reject(error: Error): void;
}

export class Runner {
  readonly #ending = new AbortController();
  readonly #input = new PassThrough();
  readonly #waiting: Question[] = [];
  #late: NodeJS.Timeout | undefined;
  /** Why nothing is answered any more. */
  #over: Error | null = null;

  constructor(options: RunnerOptions) {
    this.#input.on("error", NOTHING);
    const life = options.walls === null ? this.#asWeAre() : this.#alone(options.walls, options.artifacts);
    life.then((how) => this.#giveUp(new Error(`the process that runs models ended (${how})`)));
  }

  async load(ask: Omit<Extract<RunnerAsk, { kind: "load" }>, "kind">, timeoutMs: number): Promise<void> {
    await this.#ask({ kind: "load", ...ask }, timeoutMs);
  }

  async run(pipelines: WishedPipeline[], picture: Buffer, timeoutMs: number): Promise<Looked> {
    const ask = { kind: "run", pipelines, pictureBytes: picture.length } as const;
    const said = await this.#ask(ask, timeoutMs, picture);
    if (said.kind !== "ran") throw new Error("the runner answered something else");
    return said;
  }

  get isOver(): boolean {
    return this.#over !== null;
  }

  end(): void {
    this.#ending.abort();
    this.#input.destroy();
  }

  async #alone({ memoryMiB }: { memoryMiB: number }, artifacts: readonly string[]): Promise<string> {
    const { readable, shown } = programFiles();
    const ended = await runAlone({
      ...{ command: realpathSync(process.execPath), args: [QUIET, MODULE], env: {} },
      ...{ cwd: "/", readable: [...readable, ...artifacts], shown, writable: {} },
      ...{ fileBytesMax: 0, memoryMiB, cpuSeconds: null, timeoutMs: null, input: this.#input },
      onLine: (line) => this.#hear(line),
      ...{ lineBytesMax: ANSWER_BYTES_MAX, linesMax: Number.POSITIVE_INFINITY, signal: this.#ending.signal },
    });
    if (ended.how === "unconfined") return ended.why;
    return ended.how === "died" ? String(ended.code ?? "SIGKILL") : ended.how;
  }

  #asWeAre(): Promise<string> {
    // Nothing of the agent's environment: it may hold what a model has no business with.
    const child = spawn(process.execPath, [QUIET, MODULE], {
      env: {},
      stdio: ["pipe", "pipe", "inherit"],
    });
    child.stdin.on("error", NOTHING);
    this.#input.pipe(child.stdin);
    createInterface({ input: child.stdout }).on("line", (line) => this.#hear(line));
    this.#ending.signal.addEventListener("abort", () => child.kill("SIGKILL"), { once: true });
    return new Promise((resolve) => {
      child.once("error", ({ message }) => resolve(message));
      child.once("close", (code, signal) => resolve(String(signal ?? code)));
    });
  }

  #ask(ask: RunnerAsk, timeoutMs: number, picture?: Buffer): Promise<RunnerAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<RunnerAnswer>();
    if (this.#over !== null) return Promise.reject(this.#over);
    this.#waiting.push({ timeoutMs, resolve, reject });
    if (this.#waiting.length === 1) this.#watch();
    this.#input.write(`${JSON.stringify(ask)}\n`);
    if (picture !== undefined) this.#input.write(picture);
    return promise;
  }

  #hear(line: string): void {
    const [question] = this.#waiting;
    if (question === undefined) return;
    const said = readAnswer(line);
    if (said === null) {
      this.end();
      this.#giveUp(new Error("the process that runs models said something that is no answer"));
      return;
    }
    this.#waiting.shift();
    this.#watch();
    if (said.kind === "failed") question.reject(new RunFault(said.message, said.devices));
    else question.resolve(said);
  }

  /** The time of whichever question is the first now. */
  #watch(): void {
    clearTimeout(this.#late);
    const [question] = this.#waiting;
    if (question === undefined) return;
    const { timeoutMs } = question;
    this.#late = setTimeout(() => {
      this.end();
      this.#giveUp(new Error(`the models took more than ${timeoutMs} ms`));
    }, timeoutMs);
  }

  #giveUp(error: Error): void {
    this.#over ??= error;
    clearTimeout(this.#late);
    for (const { reject } of this.#waiting.splice(0)) reject(this.#over);
  }
}
