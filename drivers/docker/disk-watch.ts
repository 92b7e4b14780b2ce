// SPDX-License-Identifier: Apache-2.0
/** Looks at the disks of running machines, one after the other, for as long as the driver lives. */
import type { Changes } from "./changes.ts";
import { type Disk, diskWords, judgeDisk } from "./disk.ts";
import type { Notes } from "./notes.ts";

const EVERY_MS = 15_000;

export class DiskWatch {
  readonly #disk: Disk;
  readonly #changes: Changes;
  readonly #notes: Notes;
  readonly #everyMs: number;
  readonly #timer: NodeJS.Timeout;
  /** Machines whose owner was told that they are above their disk, or cannot be measured. */
  readonly #told = new Set<string>();
  readonly #unknown = new Set<string>();
  #looking: Promise<void> | null = null;
  #closed = false;

  constructor(disk: Disk, changes: Changes, notes: Notes, everyMs = EVERY_MS) {
    this.#disk = disk;
    this.#changes = changes;
    this.#notes = notes;
    this.#everyMs = everyMs;
    this.#timer = setInterval(() => {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = null;
      });
    }, everyMs).unref();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    const watched = this.#changes.watched();
    for (const set of [this.#told, this.#unknown])
      for (const id of set) if (!watched.includes(id)) set.delete(id);
    for (const id of watched) {
      if (this.#closed) return;
      const grantedMiB = this.#notes.read(id)?.diskMiB ?? 0;
      if (grantedMiB > 0) await this.#lookAt(id, grantedMiB);
    }
  }

  async #lookAt(id: string, grantedMiB: number): Promise<void> {
    const { usedBytes, known } = await this.#disk.use(id, this.#everyMs / 2);
    if (!known && !this.#unknown.has(id)) this.#changes.warn(id, "its disk takes too long to be measured");
    if (known) this.#unknown.delete(id);
    else this.#unknown.add(id);
    const words = diskWords(usedBytes, grantedMiB);
    switch (judgeDisk(usedBytes, grantedMiB, this.#told.has(id))) {
      case "end":
        // Halted, and not removed: its owner may start it and delete something.
        this.#changes.end(id, `it used ${words} of its disk and was stopped; its volumes are kept`);
        break;
      case "warn":
        this.#told.add(id);
        this.#changes.warn(id, `it uses ${words} of its disk, and is stopped when it uses a tenth more`);
        break;
      case "fits":
        this.#told.delete(id);
        break;
      case "quiet":
    }
  }
}
