// SPDX-License-Identifier: Apache-2.0
/**
 * The registers that an honest boot of an image comes to, from the image and its command line alone. The boot is
 * OVMF, started by QEMU with a unified kernel image as `-kernel` and the whole line as `-append`:
 *
 *   4   firmware starts the image, says that it tries a boot option, ends its part; the stub starts the kernel
 *   9   the kernel's own stub measures the line it was given, then the initramfs
 *   11  systemd's stub measures each section that it uses: its name with a zero, then its bytes
 *   12  systemd's stub measures a line that was given from outside
 *
 * A verifier needs all four. A line from outside stands in for one inside the image without a trace in 4 and
 * 11, so an image here has none, and one who leaves 9 or 12 out accepts any root file system.
 */
import { fromHex, hexOf } from "../bytes.ts";
import { sha256 } from "../primitives.ts";
import { extended, initial } from "./event-log.ts";
import { authenticodeSha256, sectionsOf } from "./pe.ts";
import { TpmFault } from "./wire.ts";

export const REQUIRED_PCRS = [4, 9, 11, 12] as const;
export type RequiredPcr = (typeof REQUIRED_PCRS)[number];

/** What an image's metadata says under `boot`; hashes in hex. */
export interface BootFacts {
  uki: {
    authenticodeSha256: string;
    /** In the order in which the stub measures them. */
    sections: readonly { name: string; sha256: string }[];
  };
  kernelAuthenticodeSha256: string;
}

/** What systemd's stub measures into PCR 11, in this order, as far as an image has it (252, as in Debian 12). */
const MEASURED = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"];
/** Of a later stub. An image with one of these would come to values that nobody computes here. */
const UNKNOWN = [".ucode", ".uname", ".profile", ".dtbauto", ".hwids", ".efifw"];

/** From the image itself. Throws `TpmFault`. */
export async function bootFactsOf(image: Uint8Array): Promise<BootFacts> {
  const sections = sectionsOf(image);
  const kernel = sections.get(".linux");
  if (kernel === undefined) throw new TpmFault("it has no kernel");
  if (UNKNOWN.some((name) => sections.has(name)))
    throw new TpmFault("it has a section that is not known here");
  const measured = MEASURED.flatMap((name) => sections.get(name) ?? []);
  return {
    uki: {
      authenticodeSha256: await authenticodeSha256(image),
      sections: await Promise.all(
        measured.map(async ({ name, bytes }) => ({ name, sha256: hexOf(await sha256(bytes)) })),
      ),
    },
    kernelAuthenticodeSha256: await authenticodeSha256(kernel.bytes),
  };
}

/** In hex, by register. Throws `TpmFault` for an image or a line whose measurement would not be certain. */
export async function expectedPcrs(
  { uki, kernelAuthenticodeSha256 }: BootFacts,
  commandLine: string,
): Promise<Record<RequiredPcr, string>> {
  const digest = (hex: string) => {
    const bytes = typeof hex === "string" ? fromHex(hex) : null;
    if (bytes?.length !== 32) throw new TpmFault("a hash of the image is none of SHA-256");
    return bytes;
  };
  const sectionOf = (name: string) => uki.sections.find((one) => one.name === name);
  if (sectionOf(".cmdline") !== undefined) throw new TpmFault("the image has a command line of its own");
  const initrd = sectionOf(".initrd");
  if (initrd === undefined) throw new TpmFault("the image has no initramfs");
  const line = await sha256(lineBytes(commandLine));
  const text = (words: string) => sha256(new TextEncoder().encode(words));
  const sections: Uint8Array[] = [];
  for (const { name, sha256: hash } of uki.sections) sections.push(await text(`${name}\0`), digest(hash));
  return {
    4: await chained([
      digest(uki.authenticodeSha256),
      await text("Calling EFI Application from Boot Option"),
      await sha256(new Uint8Array(4)),
      digest(kernelAuthenticodeSha256),
    ]),
    9: await chained([line, digest(initrd.sha256)]),
    11: await chained(sections),
    12: await chained([line]),
  };
}

/** The stub takes white space away and blanks what is no character, so only a line that stays itself is computed. */
function lineBytes(line: string): Uint8Array {
  if (!/^[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(line) || line.length > 2047)
    throw new TpmFault("a command line is words of printable ASCII with one space between them");
  const bytes = new Uint8Array(line.length * 2 + 2);
  for (let index = 0; index < line.length; index++) bytes[index * 2] = line.charCodeAt(index);
  return bytes;
}

async function chained(digests: readonly Uint8Array[]): Promise<string> {
  let value = initial(4);
  for (const digest of digests) value = await extended(value, digest);
  return hexOf(value);
}
