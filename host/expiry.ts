// SPDX-License-Identifier: Apache-2.0
/**
 * The dead-man timer. Control ends machines in time; when control is away the host does it, `graceMs`
 * later, so that with both alive control's decision comes first. The time left is counted by the
 * monotonic clock from receipt: a wall clock that jumps neither ends nor spares a machine.
 */
const TIMEOUT_MAX_MS = 2 ** 31 - 1;

export class Expiry {
  readonly #onExpired: (machineId: string) => void;
  readonly #graceMs: number;
  readonly #timers = new Map<string, NodeJS.Timeout>();

  constructor(graceMs: number, onExpired: (machineId: string) => void) {
    this.#graceMs = graceMs;
    this.#onExpired = onExpired;
  }

  /** Replaces what was set before; null for ever. */
  set(machineId: string, remainingMs: number | null): void {
    this.clear(machineId);
    if (remainingMs !== null) this.#arm(machineId, performance.now() + remainingMs + this.#graceMs);
  }

  clear(machineId: string): void {
    clearTimeout(this.#timers.get(machineId));
    this.#timers.delete(machineId);
  }

  close(): void {
    for (const id of [...this.#timers.keys()]) this.clear(id);
  }

  #arm(machineId: string, dueAt: number): void {
    const leftMs = dueAt - performance.now();
    const timer = setTimeout(
      () => {
        if (performance.now() < dueAt) return this.#arm(machineId, dueAt);
        this.#timers.delete(machineId);
        this.#onExpired(machineId);
      },
      Math.min(Math.max(Math.ceil(leftMs), 0), TIMEOUT_MAX_MS),
    );
    this.#timers.set(machineId, timer);
  }
}
