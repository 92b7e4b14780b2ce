// SPDX-License-Identifier: Apache-2.0
/** What the driver keeps of a launch on disk, without a secret, and which images machines of this host are started from by it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Notes } from "../docker/notes.ts";
import { GUEST_ISOLATIONS, placeOfDriver } from "./of-host.ts";

export interface LaunchNote {
  v: 1;
  /** Of the image's metadata, hex. */
  image: string;
  claimId: string;
  /** When its certificate is to be replaced; null: it has none. */
  renewAtMs: number | null;
}

const folderOf = (folder: string) => join(folder, "launches");

export const openLaunchNotes = (folder: string) => new Notes<LaunchNote>(folderOf(folder));

/**
 * Also of those that are halted: they are started from them again.
 * @param folder Of all virtual machines and system containers of this host (`kept.qemu.folder`).
 * @throws When one of them does not say: whoever asks wants to remove the others.
 */
export function imagesOfMachines(folder: string): Set<string> {
  const images = new Set<string>();
  for (const isolation of GUEST_ISOLATIONS) {
    const own = placeOfDriver(isolation, "any", folder).folder;
    if (!existsSync(folderOf(own))) continue;
    const notes = openLaunchNotes(own);
    for (const machineId of notes.list()) {
      const image = notes.read(machineId)?.image;
      if (typeof image !== "string") throw new Error(`of which image ${machineId} is started cannot be read`);
      images.add(image);
    }
  }
  return images;
}
