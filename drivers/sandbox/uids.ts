// SPDX-License-Identifier: Apache-2.0
/**
 * Host uids for machines. The next one is the one unused for longest: a uid that has just been given
 * back could still own a message in a queue of the kernel, and it is not needed again for long.
 */
import { randomInt } from "node:crypto";
import { DriverFault } from "../driver.ts";

export class UidPool {
  readonly #base: number;
  readonly #count: number;
  readonly #taken = new Set<number>();
  #next: number;

  constructor({ base, count }: { base: number; count: number }) {
    this.#base = base;
    this.#count = count;
    // Elsewhere than the last time: a uid of a machine that still has to be recovered is then not the
    // first to be given away again.
    this.#next = randomInt(count);
  }

  take(): number {
    for (let tried = 0; tried < this.#count; tried++) {
      const uid = this.#base + (this.#next++ % this.#count);
      if (this.#taken.has(uid)) continue;
      this.#taken.add(uid);
      return uid;
    }
    throw new DriverFault("machine.no-uid", "every uid of the pool is in use");
  }

  give(uid: number): void {
    this.#taken.delete(uid);
  }

  taken(uid: number): boolean {
    return this.#taken.has(uid);
  }
}
