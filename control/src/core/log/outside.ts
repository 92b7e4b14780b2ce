// SPDX-License-Identifier: Apache-2.0
/**
 * What was signed last, told outside the database. A database that was restored from a backup does not
 * know what it signed after that backup; going on would sign a second tree of a size that strangers
 * hold a root of, which is a fork and makes the whole log worthless. So the log compares itself with
 * what lies here, and stops when it is behind or other.
 */
import { readFile } from "node:fs/promises";
import { type OpenedCheckpoint, openCheckpoint } from "#evidence/log/checkpoint.ts";
import { replaceFile } from "#files/replace.ts";

export interface Outside {
  /** Null when nothing was ever told. Throws for what is there and is no checkpoint: that is not nothing. */
  newest(): Promise<OpenedCheckpoint | null>;
  tell(note: string): Promise<void>;
}

/** A file of control's own folder, which no dump of a database has in it. */
export function outsideFile(path: string): Outside {
  return {
    newest: async () => {
      const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return null;
        throw error;
      });
      if (bytes === null) return null;
      const checkpoint = openCheckpoint(bytes);
      if (checkpoint === null) throw new Error(`${path} is no checkpoint`);
      return checkpoint;
    },
    tell: (note) => replaceFile(path, note, 0o644),
  };
}
