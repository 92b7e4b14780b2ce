// SPDX-License-Identifier: Apache-2.0
/**
 * Machines of which something is left on this host, and which nobody knows: the host has no record and
 * control no row. Their containers, networks, rules and disks would stay for ever, and nobody pays.
 *
 * A disk that is removed is somebody's data gone, so everything must agree, and for long:
 *  A. The driver vouches that it is this installation's and no other's (`list` of the port).
 *  B. The host has no record of it, not even one that it cannot read.
 *  C. Control has named everything it wants of this host since this process started, and this not.
 *  D. All of that at every look for the whole grace. A process that starts counts from the beginning.
 */
import type { KeptDriver } from "#drivers/kept-driver.ts";
import type { HostLog } from "../machine.ts";

const LOOKS_IN_GRACE = 10;
const LOOK_MS_MAX = 60_000;
/** In one look; the next takes more. */
const REMOVED_MAX = 20;

export interface OrphanOptions {
  drivers: readonly KeptDriver[];
  /** B. */
  isRecorded(machineId: string): boolean;
  graceMs: number;
  clock(): number;
  log: HostLog;
}

export class Orphans {
  readonly #options: OrphanOptions;
  /** C. What control named; null until it has named everything once. */
  #named: Set<string> | null = null;
  readonly #sinceMs = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> | null = null;
  #closed = false;

  constructor(options: OrphanOptions) {
    this.#options = options;
    const everyMs = Math.max(1, Math.min(LOOK_MS_MAX, options.graceMs / LOOKS_IN_GRACE));
    this.#timer = setInterval(() => void this.look(), everyMs).unref();
  }

  /** A complete batch names all that control has; one that is not adds to it. */
  named(machineIds: Iterable<string>, complete: boolean): void {
    if (complete) this.#named = new Set(machineIds);
    else for (const id of machineIds) this.#named?.add(id);
  }

  look(): Promise<void> {
    this.#looking ??= this.#look()
      .catch((error) => this.#options.log("host.kept-orphans-unseen", { error: String(error) }))
      .finally(() => {
        this.#looking = null;
      });
    return this.#looking;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    if (this.#named === null || this.#closed) return;
    const nowMs = this.#options.clock();
    const found = new Map<string, KeptDriver>();
    for (const driver of this.#options.drivers) {
      if (!(await driver.answers())) continue;
      for (const id of await driver.list()) if (this.#isNobodys(id)) found.set(id, driver);
    }
    for (const id of this.#sinceMs.keys()) if (!found.has(id)) this.#sinceMs.delete(id); // D
    let removed = 0;
    for (const [id, driver] of found) {
      const since = this.#sinceMs.get(id) ?? nowMs;
      this.#sinceMs.set(id, since);
      // Asked again: it may have been wished for while another one was removed.
      if (nowMs - since < this.#options.graceMs || this.#closed || !this.#isNobodys(id)) continue;
      if (++removed > REMOVED_MAX) return;
      this.#options.log("host.kept-orphan-removed", { machineId: id });
      await driver.remove(id, null);
      this.#sinceMs.delete(id);
    }
  }

  #isNobodys(machineId: string): boolean {
    return this.#named?.has(machineId) === false && !this.#options.isRecorded(machineId);
  }
}
