// SPDX-License-Identifier: Apache-2.0
/**
 * Host uids for machines. The next one is the one unused for longest: a uid that has just been given
 * back could still own a message in a queue of the kernel, and it is not needed again for long.
 */
import { DriverFault } from "../driver.ts";

export class UidPool {
  readonly #base: number;
  readonly #count: number;
  readonly #taken = new Set<number>();
  #next = 0;

  constructor({ base, count }: { base: number; count: number }) {
    this.#base = base;
    this.#count = count;
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

  /** Marks a uid that an earlier process of ours gave away. */
  keep(uid: number): void {
    this.#taken.add(uid);
  }

  give(uid: number): void {
    this.#taken.delete(uid);
  }

  taken(uid: number): boolean {
    return this.#taken.has(uid);
  }
}
