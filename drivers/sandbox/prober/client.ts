// SPDX-License-Identifier: Apache-2.0
/**
 * The driver's end of the prober. It is started once and again when it dies; a question that was under
 * way then is asked once more, and fails when the prober dies over it a second time.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Answer, Question } from "./question.ts";

const MAIN = fileURLToPath(new URL("./main.ts", import.meta.url));
const CAPABILITIES = "-all,+sys_ptrace,+dac_read_search";

interface Pending {
  question: Question;
  attempts: number;
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

export class Prober {
  readonly #uid: number | null;
  readonly #pending = new Map<number, Pending>();
  #child: ChildProcess | null = null;
  #next = 1;
  #closed = false;

  /** `uid`: the prober's own, when we may give it one. */
  constructor(uid: number | null) {
    this.#uid = uid;
  }

  ask<Q extends Question>(question: Q): Promise<Answer<Q>> {
    if (this.#closed) return Promise.reject(new Error("the prober is closed"));
    return new Promise((resolve, reject) => {
      this.#send(this.#next++, {
        question,
        attempts: 1,
        resolve: resolve as (answer: unknown) => void,
        reject,
      });
    });
  }

  /** Starts the process now rather than with the first question. */
  start(): void {
    this.#child ??= this.#spawn();
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.stdin!.end();
    const late = setTimeout(() => child.kill("SIGKILL"), 2000);
    await ended;
    clearTimeout(late);
  }

  #send(id: number, pending: Pending): void {
    this.start();
    this.#pending.set(id, pending);
    this.#child!.stdin!.write(`${JSON.stringify({ ...pending.question, id })}\n`);
  }

  #spawn(): ChildProcess {
    const [command, args] = this.#command();
    const child = spawn(command, args, { env: {}, cwd: "/", stdio: ["pipe", "pipe", "inherit"] });
    child.stdin!.on("error", () => {});
    createInterface({ input: child.stdout! }).on("line", (line) => {
      const { id, answer, error } = JSON.parse(line) as { id: number; answer?: unknown; error?: string };
      const pending = this.#pending.get(id);
      this.#pending.delete(id);
      if (error !== undefined) pending?.reject(new Error(`prober: ${error}`));
      else pending?.resolve(answer);
    });
    const lost = () => {
      if (this.#child !== child) return;
      this.#child = null;
      const under = [...this.#pending];
      this.#pending.clear();
      for (const [id, pending] of under) {
        if (this.#closed || pending.attempts >= 2) pending.reject(new Error("the prober died"));
        else this.#send(id, { ...pending, attempts: pending.attempts + 1 });
      }
    };
    child.once("error", lost);
    child.once("exit", lost);
    return child;
  }

  #command(): [string, string[]] {
    const node = [process.execPath, "--disable-warning=ExperimentalWarning", MAIN];
    if (this.#uid === null) return [node[0]!, node.slice(1)];
    const uid = String(this.#uid);
    return [
      "/usr/bin/setpriv",
      [
        ...["--reuid", uid, "--regid", uid, "--clear-groups", "--no-new-privs"],
        `--bounding-set=${CAPABILITIES}`,
        `--inh-caps=${CAPABILITIES}`,
        `--ambient-caps=${CAPABILITIES}`,
        ...node,
      ],
    ];
  }
}
