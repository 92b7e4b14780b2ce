// SPDX-License-Identifier: Apache-2.0
/** Work on one machine, one after the other: what was asked for first is done first. Machines do not wait for each other. */

export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  run<T>(machineId: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(machineId) ?? Promise.resolve();
    const turn = before.then(work, work);
    const settled = turn.catch(() => {});
    this.#last.set(machineId, settled);
    void settled.then(() => {
      if (this.#last.get(machineId) === settled) this.#last.delete(machineId);
    });
    return turn;
  }

  /** Everything that was asked for before the call is done, well or not. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#last.values());
  }
}
