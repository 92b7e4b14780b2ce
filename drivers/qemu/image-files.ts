// SPDX-License-Identifier: Apache-2.0
/**
 * The files of the image that a start names by the hash of its metadata. Control says the hash and approves what evidence
 * shows of it; that the files here are still the ones of the metadata is looked at before each start, so that an altered one is a
 * clear refusal and not a machine whose secrets never come.
 */
import { join } from "node:path";
import { type BuiltImage, findAlteredFile, listImages } from "#images/store.ts";
import { DriverFault } from "../driver.ts";
import type { Boot, Disk } from "./vm.ts";

/** @throws DriverFault When this host has no such image, or not as it was built. */
export async function requireImage(folder: string, metadataSha256: string): Promise<BuiltImage> {
  const image = listImages(folder).find((each) => each.metadataSha256 === metadataSha256);
  if (image === undefined)
    throw new DriverFault(
      "machine.image-unknown",
      `this host has no guest image ${metadataSha256.slice(0, 12)}: casemate images build`,
    );
  const altered = await findAlteredFile(image);
  if (altered !== null)
    throw new DriverFault(
      "machine.image-unknown",
      `the file ${altered} of the guest image ${image.metadata.name} is not as it was built`,
    );
  return image;
}

/** With firmware the unified image, which is measured whole; without, its two parts. */
export function bootOf({ folder }: BuiltImage, line: string, firmware: boolean): Boot {
  const file = (name: string) => join(folder, name);
  return firmware
    ? { kernel: file("image.efi"), initrd: null, line }
    : { kernel: file("kernel"), initrd: file("initrd"), line };
}

export const rootOf = ({ folder }: BuiltImage): Disk => ({
  ...{ path: join(folder, "root.img"), readOnly: true },
  serial: "root",
});
