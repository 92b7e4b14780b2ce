// SPDX-License-Identifier: Apache-2.0
/**
 * The observed loop: the newest observation of each machine is said until control has committed it.
 *
 * Invariants:
 *  A. At most one report is under way; what happens meanwhile goes together in the next, so a busy
 *     host batches by itself and a quiet one sends at once, without a timer.
 *  B. A newer observation of a machine replaces the older one that was not acknowledged.
 *  C. One observation that control cannot commit does not hold up the others: after a rejected batch
 *     each is said alone once.
 */
import type { Observation } from "#contract/link/machine.ts";
import { type Backoff, waitMs } from "#link/backoff.ts";
import type { HostLink } from "#link/port.ts";

export class Reports {
  readonly #waiting = new Map<string, Observation>();
  readonly #onAcknowledged: (observation: Observation) => void;
  readonly #backoff: Backoff;
  #link: HostLink | undefined;
  #busy = false;
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(onAcknowledged: (observation: Observation) => void, backoff: Backoff) {
    this.#onAcknowledged = onAcknowledged;
    this.#backoff = backoff;
  }

  attach(link: HostLink): void {
    this.#link = link;
    this.hurry();
  }

  add(observation: Observation): void {
    this.#waiting.set(observation.machineId, observation);
    // Also during a backoff: news of one machine must not wait for another's that control cannot commit.
    this.hurry();
  }

  find(machineId: string): Observation | undefined {
    return this.#waiting.get(machineId);
  }

  /** The link is up (again): no need to sit the backoff out. */
  hurry(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    void this.#run();
  }

  /** Resolves when nothing waits any more, or after `mostMs`. */
  async drained(mostMs: number): Promise<void> {
    const until = performance.now() + mostMs;
    while (this.#waiting.size > 0 && performance.now() < until)
      await new Promise((resolve) => setTimeout(resolve, 5));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
  }

  async #run(): Promise<void> {
    if (this.#busy || this.#retry || !this.#link) return;
    this.#busy = true;
    while (this.#waiting.size > 0 && !this.#closed) {
      const said = [...this.#waiting.values()];
      const committed = (await this.#say(said)) ? said : await this.#sayAlone(said);
      for (const observation of committed) {
        if (this.#waiting.get(observation.machineId) === observation)
          this.#waiting.delete(observation.machineId);
        this.#onAcknowledged(observation);
      }
      if (committed.length === 0) {
        this.#busy = false;
        this.#later();
        return;
      }
      this.#failures = 0;
    }
    this.#busy = false;
  }

  async #say(observations: Observation[]): Promise<boolean> {
    try {
      await this.#link!.report(observations);
      return true;
    } catch {
      return false;
    }
  }

  async #sayAlone(observations: Observation[]): Promise<Observation[]> {
    const committed: Observation[] = [];
    if (observations.length < 2) return committed;
    for (const observation of observations) if (await this.#say([observation])) committed.push(observation);
    return committed;
  }

  #later(): void {
    if (this.#closed) return;
    this.#retry = setTimeout(
      () => {
        this.#retry = undefined;
        void this.#run();
      },
      waitMs(this.#backoff, this.#failures++),
    );
  }
}
