// SPDX-License-Identifier: Apache-2.0
/**
 * Removes images of former builds. The last one of each name stays, since it is what new machines are started from, and so does what
 * the caller knows to be used: who is wrong about that takes a machine what it boots. Whoever calls has the folder to themselves.
 */
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type BuiltImage, listImages } from "./store.ts";

/** @param used Hashes of metadata. @returns What was removed. */
export function pruneImages(folder: string, used: ReadonlySet<string>): BuiltImage[] {
  const former = listImages(folder).filter(
    ({ current, metadataSha256 }) => !current && !used.has(metadataSha256),
  );
  for (const image of former) {
    // Gone in one step: half an image would be listed, and refused as altered. A killed build's folders are removed by the next.
    const aside = mkdtempSync(join(folder, ".work-"));
    renameSync(image.folder, join(aside, "image"));
    rmSync(aside, { recursive: true, force: true });
  }
  return former;
}
