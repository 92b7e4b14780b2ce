// SPDX-License-Identifier: Apache-2.0
/**
 * Turns at something that everybody shares, as a maker's service that counts our requests. The attacker is an account that asks for as much
 * as it can: it has a part of the places and a queue of its own, and whoever comes meanwhile is before its next.
 */
export interface Turns {
  underWayMax: number;
  underWayPerCallerMax: number;
  waitingPerCallerMax: number;
}

export class NoTurn extends Error {}

interface Caller {
  underWay: number;
  waiting: (() => void)[];
}

export class FairTurns {
  readonly #bounds: Turns;
  /** In the order in which they are next. */
  readonly #callers = new Map<string, Caller>();
  #underWay = 0;

  constructor(bounds: Turns) {
    this.#bounds = bounds;
  }

  /** @throws NoTurn When too much of this caller's waits. */
  async run<T>(who: string, work: () => Promise<T>): Promise<T> {
    const caller = this.#callers.get(who) ?? { underWay: 0, waiting: [] };
    if (caller.waiting.length >= this.#bounds.waitingPerCallerMax) throw new NoTurn("too much of it waits");
    this.#callers.set(who, caller);
    await new Promise<void>((resolve) => {
      caller.waiting.push(resolve);
      this.#begin();
    });
    try {
      return await work();
    } finally {
      this.#underWay -= 1;
      caller.underWay -= 1;
      if (caller.underWay === 0 && caller.waiting.length === 0) this.#callers.delete(who);
      this.#begin();
    }
  }

  #begin(): void {
    while (this.#underWay < this.#bounds.underWayMax) {
      const next = [...this.#callers].find(
        ([, { underWay, waiting }]) => waiting.length > 0 && underWay < this.#bounds.underWayPerCallerMax,
      );
      if (next === undefined) return;
      const [who, caller] = next;
      this.#callers.delete(who);
      this.#callers.set(who, caller);
      caller.underWay += 1;
      this.#underWay += 1;
      caller.waiting.shift()!();
    }
  }
}
