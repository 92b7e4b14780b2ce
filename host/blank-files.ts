// SPDX-License-Identifier: Apache-2.0
/**
 * Empty files kept for the next ones. For each machine four small files are made that live for moments,
 * and ext4 does not give a freed inode away again for minutes: it looks at every one freed before it
 * makes another. On a host that ends fifteen machines a second that was a quarter of all its work.
 *
 *  A. A file that goes is renamed first and emptied then, so a kill in between leaves nothing under its
 *     old name; what a killed process kept here is removed at the next start, unread.
 *  B. Bounded: what comes beyond that is unlinked.
 */
import { mkdirSync, openSync, readdirSync, renameSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";

const KEPT_MAX = 16;

export interface Files {
  /** An empty file of this name for writing, 0600; one that was there is gone. */
  open(path: string): number;
  /** Nothing is left under this name; no matter if there was nothing. */
  remove(path: string): void;
}

export const plainFiles: Files = {
  open: (path) => openSync(path, "w", 0o600),
  remove: (path) => rmSync(path, { force: true }),
};

export class BlankFiles implements Files {
  readonly #folder: string;
  readonly #kept: string[] = [];
  #made = 0;

  /** A folder of its own on the file system it serves. */
  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true });
  }

  open(path: string): number {
    const blank = this.#kept.pop();
    if (blank !== undefined) {
      try {
        renameSync(blank, path);
        return openSync(path, "r+");
      } catch {
        // Removed by somebody else.
      }
    }
    return plainFiles.open(path);
  }

  remove(path: string): void {
    if (this.#kept.length >= KEPT_MAX) {
      plainFiles.remove(path);
      return;
    }
    const blank = join(this.#folder, String(++this.#made));
    try {
      renameSync(path, blank); // A
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw error;
    }
    truncateSync(blank);
    this.#kept.push(blank);
  }
}
