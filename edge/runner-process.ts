// SPDX-License-Identifier: Apache-2.0
/** The agent's side of a runner: one question at a time, each with a time it may take. */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Found } from "./pipelines.ts";
import type { RunnerAnswer, RunnerAsk } from "./runner.ts";
import type { WishedPipeline } from "./wish.ts";

const MODULE = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "./runner.ts" : "./runner.js", import.meta.url),
);

export class Runner {
  readonly #child: ChildProcess;
  #last: Promise<unknown> = Promise.resolve();

  constructor() {
    // Nothing of the agent's environment: it may hold what a model has no business with.
    this.#child = fork(MODULE, [], {
      env: { PATH: process.env.PATH ?? "" },
      execArgv: ["--disable-warning=ExperimentalWarning"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#child.on("error", () => {});
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
    this.#child.kill("SIGKILL");
  }

  #ask(ask: RunnerAsk, timeoutMs: number): Promise<RunnerAnswer> {
    const turn = this.#last.then(() => this.#once(ask, timeoutMs));
    this.#last = turn.catch(() => {});
    return turn;
  }

  #once(ask: RunnerAsk, timeoutMs: number): Promise<RunnerAnswer> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const settle = (work: () => void) => {
        clearTimeout(late);
        child.off("message", heard).off("exit", lost);
        work();
      };
      const heard = (said: RunnerAnswer) =>
        settle(() => (said.kind === "failed" ? reject(new Error(said.message)) : resolve(said)));
      const lost = (code: number | null, signal: string | null) =>
        settle(() => reject(new Error(`the process that runs models ended (${signal ?? code})`)));
      const late = setTimeout(() => {
        child.kill("SIGKILL");
        settle(() => reject(new Error(`the models took more than ${timeoutMs} ms`)));
      }, timeoutMs);
      if (child.exitCode !== null || child.signalCode !== null) return lost(child.exitCode, child.signalCode);
      child.on("message", heard).on("exit", lost);
      child.send(ask, (error) => error && settle(() => reject(error)));
    });
  }
}
