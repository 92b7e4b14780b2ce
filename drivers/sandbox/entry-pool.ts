// SPDX-License-Identifier: Apache-2.0
/**
 * Entry programs that wait for work, so that entering a sandbox costs what the kernel asks for it. A
 * waiting one knows nothing yet: no machine, no descriptor, no command.
 *
 *  A. Each is used once.
 *  B. One that is taken is replaced a moment later, not while its command waits for the processor.
 *  C. One whose driver died reads the end of its configuration and goes.
 */
import { type EntryProcess, Launcher } from "./launcher.ts";

const REFILL_MS = 20;

export class EntryPool {
  readonly #launcher = new Launcher("entries");
  readonly #size: number;
  readonly #waiting: EntryProcess[] = [];
  #coming = 0;
  #refill: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(size: number) {
    this.#size = size;
  }

  async take(): Promise<EntryProcess> {
    const entry = this.#waiting.shift() ?? (await this.#launcher.startEntry());
    this.fillSoon();
    return entry;
  }

  /** Starts what is missing, a moment later. */
  fillSoon(): void {
    if (this.#closed) return;
    this.#refill ??= setTimeout(() => {
      this.#refill = undefined;
      while (!this.#closed && this.#waiting.length + this.#coming < this.#size) this.#start();
    }, REFILL_MS);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#refill);
    for (const entry of this.#waiting.splice(0)) discard(entry);
    await this.#launcher.close();
  }

  #start(): void {
    this.#coming++;
    this.#launcher.startEntry().then(
      (entry) => {
        this.#coming--;
        if (this.#closed) return discard(entry);
        this.#waiting.push(entry);
        // Killed by somebody while it waited: not to be given to a command.
        entry.stdio[4].once("close", () => {
          const at = this.#waiting.indexOf(entry);
          if (at >= 0) this.#waiting.splice(at, 1);
        });
      },
      () => {
        this.#coming--;
      },
    );
  }
}

function discard(entry: EntryProcess): void {
  for (const stream of entry.stdio) stream.destroy();
}
