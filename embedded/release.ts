// SPDX-License-Identifier: Apache-2.0
/** Which release wrote the state folder. A newer one's folder is refused; an older one's is taken over. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import pkg from "#package.json" with { type: "json" };

export function checkRelease(path: string, version: string = pkg.version): void {
  const kept = read(path);
  if (kept !== null && compare(kept, version) > 0) {
    throw new Error(
      `this state folder was written by casemate ${kept}; this is ${version}: use the newer release`,
    );
  }
  if (kept === version) return;
  writeFileSync(`${path}.new`, `${version}\n`);
  renameSync(`${path}.new`, path);
}

function read(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function compare(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split(".").map(Number));
  for (let n = 0; n < 3; n++) {
    const difference = (left![n] ?? 0) - (right![n] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
