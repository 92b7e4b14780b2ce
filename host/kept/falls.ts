// SPDX-License-Identifier: Apache-2.0
/**
 * How often a machine fell over by itself lately, and how much calm is asked of it before it counts as
 * running again. A service that dies every second would otherwise be an event for its owner, a report
 * and a row every second; so what is told twice as often is believed half as fast.
 */
const WINDOW_MS = 10 * 60_000;
const CALM_MS = 1_000;
const CALM_MS_MAX = 60_000;
const REMEMBERED = 16;

export class Falls {
  #times: number[] = [];

  add(nowMs: number): void {
    this.#times = [...this.#recent(nowMs), nowMs].slice(-REMEMBERED);
  }

  count(nowMs: number): number {
    return this.#recent(nowMs).length;
  }

  /** 1 s after the first fall, twice as long after each one that follows it within ten minutes. */
  calmMs(nowMs: number): number {
    const count = this.count(nowMs);
    return count === 0 ? 0 : Math.min(CALM_MS * 2 ** (count - 1), CALM_MS_MAX);
  }

  #recent(nowMs: number): number[] {
    return this.#times.filter((time) => nowMs - time < WINDOW_MS);
  }
}
