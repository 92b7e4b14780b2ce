// SPDX-License-Identifier: Apache-2.0
/**
 * Entry programs that wait for work. Forking this process costs milliseconds for each 100 MiB it has,
 * and perl as much again to start and compile; done beforehand, entering a sandbox costs what the
 * kernel asks for it. A waiting one knows nothing yet: no machine, no descriptor, no command.
 *
 *  A. Each is used once.
 *  B. One that is taken is replaced when its work is done, not while it is waited for.
 *  C. One whose driver died reads the end of its configuration and goes.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const ENTRY = fileURLToPath(new URL("./enter.pl", import.meta.url));

export class EntryPool {
  readonly #size: number;
  readonly #waiting: ChildProcess[] = [];
  #closed = false;

  constructor(size: number) {
    this.#size = size;
  }

  take(): ChildProcess {
    const child = this.#waiting.shift() ?? this.#spawn();
    child.once("exit", () => setImmediate(() => this.fill()));
    return child;
  }

  /** Starts what is missing. */
  fill(): void {
    while (!this.#closed && this.#waiting.length < this.#size) this.#waiting.push(this.#spawn());
  }

  async close(): Promise<void> {
    this.#closed = true;
    const ended = this.#waiting.splice(0).map(
      (child) =>
        new Promise<void>((resolve) => {
          child.once("exit", () => resolve());
          for (const stream of child.stdio) stream?.destroy();
        }),
    );
    await Promise.all(ended);
  }

  #spawn(): ChildProcess {
    const child = spawn("/usr/bin/perl", ["-f", ENTRY], {
      env: {},
      cwd: "/",
      stdio: ["pipe", "pipe", "pipe", "pipe", "pipe"],
    });
    for (const stream of child.stdio) stream?.on("error", () => {});
    const leave = () => {
      const at = this.#waiting.indexOf(child);
      if (at >= 0) this.#waiting.splice(at, 1);
    };
    child.once("exit", leave);
    child.once("error", leave);
    return child;
  }
}
