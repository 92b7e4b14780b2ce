// SPDX-License-Identifier: Apache-2.0
/**
 * A small file replaced whole, by whoever keeps one that must not be lost: a reader, also one after a
 * kill, a full disk or a power cut, finds the old bytes or the new ones. It is on the disk under its
 * name when this resolves.
 */
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** Throws the system's error, and then what was there is there. `mode` counts for the file as it is made anew. */
export async function replaceFile(path: string, bytes: Uint8Array | string, mode = 0o600): Promise<void> {
  const draft = `${path}.new`;
  try {
    const file = await open(draft, "w", mode);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => {});
    throw error;
  }
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
