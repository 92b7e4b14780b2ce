// SPDX-License-Identifier: Apache-2.0
/**
 * What was signed last, told outside the database. A database that was restored from a backup does not
 * know what it signed after that backup; going on would sign a second tree of a size that strangers
 * hold a root of, which is a fork and makes the whole log worthless. So the log compares itself with
 * what lies here and with what its witnesses saw, and stops when it is behind or other.
 */
import { readFile } from "node:fs/promises";
import { type OpenedCheckpoint, openCheckpoint } from "#evidence/log/checkpoint.ts";
import { replaceFile } from "#files/replace.ts";

/** In place of a checkpoint: this folder came out of a backup, and what was signed after it is not known. */
const RESTORED = "restored";

export interface Outside {
  /**
   * Null when nothing was ever told. `restored` with the log's name, if the backup knew it: more may have been
   * told than is known here. Throws for what is there and is neither: that is not nothing.
   */
  newest(): Promise<OpenedCheckpoint | { restored: string | null } | null>;
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
      const [word, origin] = bytes.toString().split("\n", 1)[0]!.split(" ");
      if (word === RESTORED) return { restored: origin ?? null };
      const checkpoint = openCheckpoint(bytes);
      if (checkpoint === null) throw new Error(`${path} is no checkpoint`);
      return checkpoint;
    },
    tell: (note) => replaceFile(path, note, 0o644),
  };
}
