// SPDX-License-Identifier: Apache-2.0
/**
 * Sandboxes made before anybody asks for one, so that a create waits for a record and not for
 * bubblewrap. What is made ahead is what was asked for last: a spare fits a machine of its own shape only.
 *
 *  A. A spare serves one machine. It leaves this list when it is taken and never comes back.
 *  B. It knows nobody. It was made from a shape, with a uid, salt and canary of its own; nothing of a
 *     tenant is in it, nothing has run in it, and it holds the limits its machine was promised.
 *  C. It is made and checked like any other; one that died while it waited is taken by nobody.
 *  D. No record names it until a machine has it: there is nothing to prove of it. A host that is killed
 *     takes it along (start.ts, B), and `reap` removes its folders.
 *  E. One is made at a time and a moment after a start, so that a start does not wait behind it.
 */
import type { MachineSpec } from "#contract/link/machine.ts";
import type { Sandbox } from "./machine.ts";
import { isAlive } from "./process-table.ts";

const REFILL_MS = 20;

/** What a sandbox is made from; two machines of one shape could have each other's. */
export type Shape = Pick<MachineSpec, "image" | "memoryMiB" | "pidsMax" | "cpuMillis">;

const nameOf = ({ image, memoryMiB, pidsMax, cpuMillis }: Shape) =>
  JSON.stringify([image, memoryMiB, pidsMax, cpuMillis]);

export interface SpareMaker {
  make(shape: Shape): Promise<Sandbox>;
  /** Ends one that served nobody. */
  abandon(sandbox: Sandbox): Promise<void>;
}

interface Spare {
  name: string;
  sandbox: Sandbox;
}

export class Spares {
  readonly #size: number;
  readonly #maker: SpareMaker;
  #waiting: Spare[] = [];
  /** Of the last starts, as many as there are places: each is expected once more. */
  readonly #asked: Shape[] = [];
  #refill: NodeJS.Timeout | undefined;
  #filling: Promise<void> | undefined;
  readonly #leaving = new Set<Promise<void>>();
  #closed = false;

  constructor(size: number, maker: SpareMaker) {
    this.#size = size;
    this.#maker = maker;
  }

  waiting(): Sandbox[] {
    return this.#waiting.map(({ sandbox }) => sandbox);
  }

  /** To be called for each machine that came up. */
  started(shape: Shape): void {
    this.#asked.push(shape);
    if (this.#asked.length > this.#size) this.#asked.shift();
    this.#fillSoon();
  }

  take(shape: Shape): Sandbox | undefined {
    const name = nameOf(shape);
    const found = this.#waiting.find((each) => each.name === name && isAlive(each.sandbox.started)); // C
    if (!found) return undefined;
    this.#remove(found); // A
    return found.sandbox;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#refill);
    await this.#filling;
    for (const spare of [...this.#waiting]) this.#discard(spare);
    await Promise.all(this.#leaving);
  }

  #remove(spare: Spare): boolean {
    const before = this.#waiting.length;
    this.#waiting = this.#waiting.filter((each) => each !== spare);
    return this.#waiting.length < before;
  }

  #discard(spare: Spare): void {
    if (!this.#remove(spare)) return;
    const left = this.#maker.abandon(spare.sandbox).finally(() => this.#leaving.delete(left));
    this.#leaving.add(left);
  }

  #fillSoon(): void {
    if (this.#closed || this.#size === 0) return;
    this.#refill ??= setTimeout(() => {
      this.#refill = undefined;
      this.#filling ??= this.#fill().finally(() => {
        this.#filling = undefined;
      });
    }, REFILL_MS);
  }

  async #fill(): Promise<void> {
    for (let shape = this.#missing(); shape && !this.#closed; shape = this.#missing()) {
      let sandbox: Sandbox;
      try {
        sandbox = await this.#maker.make(shape);
      } catch {
        // A start will meet the same and say it; each start tries here again.
        return;
      }
      const spare = { name: nameOf(shape), sandbox };
      this.#waiting.push(spare);
      void sandbox.monitor.gone.then(() => this.#discard(spare));
    }
  }

  /** The next shape to make, after making room for it. */
  #missing(): Shape | undefined {
    const unmatched = [...this.#waiting];
    const missing = this.#asked.filter((shape) => {
      const at = unmatched.findIndex(({ name }) => name === nameOf(shape));
      if (at >= 0) unmatched.splice(at, 1);
      return at < 0;
    });
    if (missing.length > 0 && this.#waiting.length >= this.#size) this.#discard(unmatched[0]!);
    return missing[0];
  }
}
