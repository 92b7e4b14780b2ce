// SPDX-License-Identifier: Apache-2.0
/**
 * Questions that whoever may see a machine asks its guest as often as they like. A guest answers one after the other, so a few
 * are under way and some wait here: without that, many readers of a log, or of evidence, would leave no room for what the host itself
 * asks, and a start would fail of it.
 */
import { DriverFault } from "../driver.ts";

export class Questions {
  readonly #underWayMax: number;
  readonly #waitingMax: number;
  #underWay = 0;
  readonly #waiting = new Set<() => void>();

  constructor({ underWayMax = 2, waitingMax = 32 } = {}) {
    this.#underWayMax = underWayMax;
    this.#waitingMax = waitingMax;
  }

  /** Rejects when too many wait, and with the signal's reason when it is called off before its turn. */
  async run<T>(ask: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (this.#underWay < this.#underWayMax) this.#underWay += 1;
    else await this.#turn(signal);
    try {
      return await ask();
    } finally {
      const [next] = this.#waiting;
      // The place is handed on, so that nobody who comes meanwhile takes it.
      if (next === undefined) this.#underWay -= 1;
      else next();
    }
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    if (this.#waiting.size >= this.#waitingMax)
      throw new DriverFault("host.too-many-streams", "too much is asked of this machine at once");
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const stop = () => {
      this.#waiting.delete(take);
      reject(signal!.reason);
    };
    const take = () => {
      this.#waiting.delete(take);
      signal?.removeEventListener("abort", stop);
      resolve();
    };
    this.#waiting.add(take);
    signal?.addEventListener("abort", stop, { once: true });
    return promise;
  }
}
