// SPDX-License-Identifier: Apache-2.0
/**
 * The page that binds kernel, initrd and command line to the launch digest: QEMU writes their SHA-256
 * into it (`kernel-hashes=on`), the firmware measures the page and refuses to start anything else.
 */

import { fromHex } from "../bytes.ts";
import { sha256 } from "../primitives.ts";
import { guidBytes } from "./launch-firmware.ts";
import { PAGE_BYTES } from "./launch-page.ts";

const TABLE = "9438d606-4f22-4cc9-b479-a793d411fd21";
const COMMAND_LINE = "97d02dd8-bd20-4c94-aa78-e7714d36ab2a";
const INITRD = "44baf731-3a2f-4bd7-9af1-41e29169781d";
const KERNEL = "4de79437-abd2-427f-b835-d5b172d2045b";

const HEADER_BYTES = 18;
const ENTRY_BYTES = HEADER_BYTES + 32;
const TABLE_BYTES = HEADER_BYTES + 3 * ENTRY_BYTES;

/** By the files (an initrd of no bytes when there is none), or by their SHA-256 in hex, as an image's metadata says them. */
export type DirectBoot = { commandLine: string } & (
  | { kernel: Uint8Array; initrd: Uint8Array }
  | { kernelSha256: string; initrdSha256: string }
);

/** @param offset Where in its page the table lies. */
export async function hashesPage(boot: DirectBoot, offset: number): Promise<Uint8Array> {
  if (offset + TABLE_BYTES > PAGE_BYTES)
    throw new RangeError("the table of hashes does not fit into its page");
  const page = new Uint8Array(PAGE_BYTES);
  const view = new DataView(page.buffer);
  let at = offset;
  const head = (guid: string, length: number) => {
    page.set(guidBytes(guid), at);
    view.setUint16(at + 16, length, true);
    at += HEADER_BYTES;
  };
  head(TABLE, TABLE_BYTES);
  // The guest sees the line with the NUL that ends it.
  const line = await sha256(new TextEncoder().encode(`${boot.commandLine}\0`));
  for (const [guid, hash] of [
    [COMMAND_LINE, line],
    [INITRD, "initrd" in boot ? await sha256(boot.initrd) : hashOf(boot.initrdSha256)],
    [KERNEL, "kernel" in boot ? await sha256(boot.kernel) : hashOf(boot.kernelSha256)],
  ] as const) {
    head(guid, ENTRY_BYTES);
    page.set(hash, at);
    at += 32;
  }
  return page;
}

function hashOf(hex: string): Uint8Array {
  const bytes = fromHex(hex);
  if (bytes?.length !== 32) throw new RangeError("a hash of kernel or initrd is none of SHA-256");
  return bytes;
}
