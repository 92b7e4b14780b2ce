// SPDX-License-Identifier: Apache-2.0
/**
 * What is to be said of one machine beside its state, until control has it. A report of ours may be
 * replaced by a newer one before it was sent, so every report carries all that was not acknowledged.
 *
 *  A. A machine makes few: after a burst one in a minute, and the next one says how many were left out.
 *     What a payload does, it can do ten times a second.
 *  B. They are lost when the host process dies; the driver's own log of the machine has them all.
 */
import { randomUUID } from "node:crypto";
import { NOTICES_MAX, type Notice } from "#contract/link/machine.ts";

const BURST = 10;
const ONE_PER_MS = 60_000;
const MESSAGE_CHARACTERS = 900;

export class Notices {
  #waiting: Notice[] = [];
  #allowance = BURST;
  #countedMs: number | null = null;
  #leftOut = 0;

  warn(message: string, nowMs: number): void {
    if (this.#mayWarn(nowMs)) {
      const more = this.#leftOut === 0 ? "" : ` (and ${this.#leftOut} more warnings before it)`;
      this.#leftOut = 0;
      this.#add("warning", message.slice(0, MESSAGE_CHARACTERS) + more);
    } else this.#leftOut++;
  }

  /** Of these there are as many as services, once for each change. */
  image(message: string): void {
    this.#add("image", message.slice(0, MESSAGE_CHARACTERS));
  }

  get waiting(): readonly Notice[] {
    return this.#waiting;
  }

  taken(notices: readonly Notice[]): void {
    const ids = new Set(notices.map(({ id }) => id));
    this.#waiting = this.#waiting.filter(({ id }) => !ids.has(id));
  }

  /** A */
  #mayWarn(nowMs: number): boolean {
    const earned = this.#countedMs === null ? 0 : (nowMs - this.#countedMs) / ONE_PER_MS;
    this.#countedMs = nowMs;
    this.#allowance = Math.min(BURST, this.#allowance + earned);
    if (this.#allowance < 1) return false;
    this.#allowance--;
    return true;
  }

  #add(kind: Notice["kind"], message: string): void {
    if (message === "") return;
    // The oldest go first: control has been away for long.
    this.#waiting = [...this.#waiting, { id: randomUUID(), kind, message }].slice(-NOTICES_MAX);
  }
}
