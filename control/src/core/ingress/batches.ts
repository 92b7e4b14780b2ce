// SPDX-License-Identifier: Apache-2.0
/**
 * Values by key, asked for many at once: whoever comes while one load is under way waits for the next,
 * which takes all of them together. The attacker asks for ever new names; what they cost is one
 * statement at a time, however many they are.
 *
 *  A. One load is under way at a time, of at most `loadMax` keys; at most `waitingMax` keys wait.
 *  B. A value is used for `keepMs` after it was loaded, and a bounded number is kept: the oldest go.
 *     "There is none" is kept like a value.
 *  C. A failed load is nobody's value: all who waited for it hear of it, and nothing is kept.
 */
export interface BatchLimits {
  keepMs: number;
  keptMax: number;
  loadMax: number;
  waitingMax: number;
}

interface Waiting<V> {
  resolve(value: V | null): void;
  reject(error: unknown): void;
}

export class Batches<V> {
  readonly #load: (keys: readonly string[]) => Promise<ReadonlyMap<string, V>>;
  readonly #limits: BatchLimits;
  readonly #kept = new Map<string, { value: V | null; endsAtMs: number }>();
  readonly #waiting = new Map<string, Waiting<V>[]>();
  #busy = false;

  constructor(load: (keys: readonly string[]) => Promise<ReadonlyMap<string, V>>, limits: BatchLimits) {
    this.#load = load;
    this.#limits = limits;
  }

  async find(key: string): Promise<V | null> {
    const kept = this.#kept.get(key);
    if (kept !== undefined && kept.endsAtMs > performance.now()) return kept.value;
    const others = this.#waiting.get(key);
    if (others === undefined && this.#waiting.size >= this.#limits.waitingMax)
      throw new Error("too many names are waiting to be looked up");
    const { promise, resolve, reject } = Promise.withResolvers<V | null>();
    this.#waiting.set(key, [...(others ?? []), { resolve, reject }]);
    if (!this.#busy) void this.#work();
    return promise;
  }

  async #work(): Promise<void> {
    this.#busy = true;
    while (this.#waiting.size > 0) {
      const batch = [...this.#waiting].slice(0, this.#limits.loadMax);
      for (const [key] of batch) this.#waiting.delete(key);
      try {
        // Counted from before the load: what it read is at least as new.
        const endsAtMs = performance.now() + this.#limits.keepMs;
        const found = await this.#load(batch.map(([key]) => key));
        for (const [key, waiting] of batch) {
          const value = found.get(key) ?? null;
          this.#keep(key, value, endsAtMs);
          for (const each of waiting) each.resolve(value);
        }
      } catch (error) {
        for (const each of batch.flatMap(([, waiting]) => waiting)) each.reject(error);
      }
    }
    this.#busy = false;
  }

  #keep(key: string, value: V | null, endsAtMs: number): void {
    this.#kept.delete(key);
    if (this.#kept.size >= this.#limits.keptMax) this.#kept.delete(this.#kept.keys().next().value!);
    this.#kept.set(key, { value, endsAtMs });
  }
}
