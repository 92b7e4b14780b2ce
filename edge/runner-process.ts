// SPDX-License-Identifier: Apache-2.0
/**
 * The agent's side of a runner: one question at a time, each with a time it may take. A model is a
 * stranger's program, so what runs it stands behind walls where there are any (walls.ts), and what it
 * says is a stranger's word: bounded, and held to its form.
 */
import { spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import { runAlone } from "../confine/alone.ts";
import { readAnswer } from "./answer.ts";
import type { Found } from "./pipelines.ts";
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

export interface RunnerOptions {
  /** Null: as this user, with this user's rights. */
  walls: { memoryMiB: number } | null;
  /** The artefacts of its models: all of the agent's folder that it sees. */
  artifacts: readonly string[];
}

export class Runner {
  readonly #ending = new AbortController();
  readonly #input = new PassThrough();
  readonly #gone: Promise<void>;
  #how: string | null = null;
  #hear: (line: string) => void = NOTHING;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: RunnerOptions) {
    this.#input.on("error", NOTHING);
    const life = options.walls === null ? this.#asWeAre() : this.#alone(options.walls, options.artifacts);
    this.#gone = life.then((how) => {
      this.#how = how;
    });
  }

  async load(ask: Omit<Extract<RunnerAsk, { kind: "load" }>, "kind">, timeoutMs: number): Promise<void> {
    await this.#ask({ kind: "load", ...ask }, timeoutMs);
  }

  async run(
    pipelines: WishedPipeline[],
    picture: Buffer,
    timeoutMs: number,
  ): Promise<{ found: Found[]; tookMs: number }> {
    const said = await this.#ask({ kind: "run", pipelines, picture: picture.toString("base64") }, timeoutMs);
    if (said.kind !== "ran") throw new Error("the runner answered something else");
    return said;
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

  #ask(ask: RunnerAsk, timeoutMs: number): Promise<RunnerAnswer> {
    const turn = this.#last.then(() => this.#once(ask, timeoutMs));
    this.#last = turn.catch(NOTHING);
    return turn;
  }

  #once(ask: RunnerAsk, timeoutMs: number): Promise<RunnerAnswer> {
    return new Promise((resolve, reject) => {
      const settle = (work: () => void) => {
        clearTimeout(late);
        this.#hear = NOTHING;
        work();
      };
      const late = setTimeout(() => {
        this.end();
        settle(() => reject(new Error(`the models took more than ${timeoutMs} ms`)));
      }, timeoutMs);
      this.#hear = (line) => {
        const said = readAnswer(line);
        if (said === null) {
          this.end();
          settle(() => reject(new Error("the process that runs models said something that is no answer")));
        } else settle(() => (said.kind === "failed" ? reject(new Error(said.message)) : resolve(said)));
      };
      this.#gone.then(() =>
        settle(() => reject(new Error(`the process that runs models ended (${this.#how})`))),
      );
      if (this.#how === null) this.#input.write(`${JSON.stringify(ask)}\n`);
    });
  }
}
