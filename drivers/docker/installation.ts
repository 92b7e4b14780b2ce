// SPDX-License-Identifier: Apache-2.0
/**
 * A random number that a driver's folder has for good. The owner's name follows from where the folder
 * lies, so that a new installation at the place of a lost one has the same; what the lost one left is
 * somebody's data, and must not look like litter of the new one.
 */
import { randomBytes } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export function installationOf(folder: string): string {
  const path = join(folder, "installation");
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    const made = randomBytes(16).toString("hex");
    writeFileSync(`${path}.new`, `${made}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
    return made;
  }
}
