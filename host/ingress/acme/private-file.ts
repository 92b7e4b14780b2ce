// SPDX-License-Identifier: Apache-2.0
/**
 * JSON that holds a key, in a file for its owner alone. One that others could read is not believed: they
 * have the key, and whoever has a name's key can pretend to be it.
 */
import { readFileSync, statSync } from "node:fs";
import { replaceFile } from "../../durable-file.ts";

/** Undefined when there is none. Throws when it is open to others or not JSON. */
export function readPrivate(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  if ((statSync(path).mode & 0o077) !== 0) throw new Error(`${path} can be read by others`);
  return JSON.parse(text);
}

export const writePrivate = (path: string, value: unknown): Promise<void> =>
  replaceFile(path, Buffer.from(`${JSON.stringify(value)}\n`), "name");
