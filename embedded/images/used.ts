// SPDX-License-Identifier: Apache-2.0
/**
 * Which guest images of a state folder are in use: by the machines of its host, also halted ones, and by what control knows. Control
 * holds machines of every host against its own copy of their images, so where there is a control it is asked. A host that joined one
 * elsewhere has images for its own machines alone.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { imagesOfMachines } from "#drivers/qemu/launch-note.ts";

/** @param ask Control's answer to `GET /platform/v1/guest-images`. */
export async function usedImages(state: string, ask: (() => Promise<unknown>) | null): Promise<Set<string>> {
  const used = imagesOfMachines(vmsFolder(state));
  const joined = existsSync(join(state, "host", "broker.json"));
  if (ask === null && joined) return used;
  if (ask === null)
    throw new Error(
      "nobody here knows which images are used: give --url and --key of the control that reads them",
    );
  const { images } = (await ask()) as { images: { sha256: string }[] };
  for (const { sha256 } of images) used.add(sha256);
  return used;
}

/** As the host was told last. */
function vmsFolder(state: string): string {
  try {
    const { kept } = JSON.parse(readFileSync(join(state, "keys", "host.json"), "utf8")) as {
      kept: { qemu: { folder: string } | null } | null;
    };
    return kept?.qemu?.folder ?? join(state, "vms");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return join(state, "vms");
  }
}
