// SPDX-License-Identifier: Apache-2.0
/**
 * What an honest boot of an image measures, in the order in which it does, from the image and its command line alone. The boot
 * is OVMF, started by QEMU with a unified kernel image as `-kernel` and the whole line as `-append`:
 *
 *   4   firmware starts the image, says that it tries a boot option, ends its part; the stub starts the kernel
 *   11  systemd's stub measures each section that it uses: its name with a zero, then its bytes
 *   12  systemd's stub measures a line that was given from outside
 *   9   the kernel's own stub measures the line it was given, then the initramfs
 *   5   the kernel ends firmware's services
 *
 * Each event is for a register of a TPM, which a guest on TDX has joined to fewer (evidence/tdx/expected.ts). One list serves
 * both, with another hash: what is measured is the same. The order over all registers is that of a boot that was recorded.
 */
import { fromHex } from "../bytes.ts";
import { sha256, sha384 } from "../primitives.ts";
import { TpmFault } from "./wire.ts";

/** What an image's metadata says under `boot`; hashes in hex. An image from before they were kept has none of SHA-384. */
export interface BootFacts {
  uki: {
    authenticodeSha256: string;
    authenticodeSha384?: string;
    /** In the order in which the stub measures them. */
    sections: readonly { name: string; sha256: string; sha384?: string }[];
  };
  kernelAuthenticodeSha256: string;
  kernelAuthenticodeSha384?: string;
}

export interface BootEvent {
  /** Of a TPM. */
  pcr: number;
  digest: Uint8Array;
}

export type Bank = "sha256" | "sha384";

/** What systemd's stub measures into PCR 11, in this order, as far as an image has it (257, as in Debian 13). */
export const MEASURED_SECTIONS = [
  ...[".linux", ".cmdline", ".initrd", ".splash", ".dtb", ".uname", ".sbat"],
] as const;

const BANKS = { sha256: { hash: sha256, bytes: 32 }, sha384: { hash: sha384, bytes: 48 } } as const;

/** Throws `TpmFault` for an image or a line whose measurement would not be certain. */
export async function bootEventsOf(boot: BootFacts, commandLine: string, bank: Bank): Promise<BootEvent[]> {
  const { uki } = boot;
  // Metadata are a file from whoever built the image, and only here is this part of it read.
  if (!Array.isArray(uki?.sections) || !uki.sections.every((one) => typeof one?.name === "string"))
    throw new TpmFault("its metadata has no sections");
  const { hash, bytes } = BANKS[bank];
  const known = (hex: string | undefined) => {
    const digest = typeof hex === "string" ? fromHex(hex) : null;
    if (digest?.length !== bytes)
      throw new TpmFault(`a hash of the image is none of ${bank === "sha256" ? "SHA-256" : "SHA-384"}`);
    return digest;
  };
  const text = (words: string) => hash(new TextEncoder().encode(words));
  if (uki.sections.some(({ name }) => !MEASURED_SECTIONS.some((one) => one === name)))
    throw new TpmFault("the image has a section that is not known here");
  const sectionOf = (name: string) => uki.sections.find((one) => one.name === name);
  if (sectionOf(".cmdline") !== undefined) throw new TpmFault("the image has a command line of its own");
  const initrd = sectionOf(".initrd");
  if (initrd === undefined) throw new TpmFault("the image has no initramfs");
  const line = await hash(lineBytes(commandLine));
  const [imageHash, kernelHash] =
    bank === "sha256"
      ? [uki.authenticodeSha256, boot.kernelAuthenticodeSha256]
      : [uki.authenticodeSha384, boot.kernelAuthenticodeSha384];
  const sections: BootEvent[] = [];
  for (const section of uki.sections)
    sections.push(
      { pcr: 11, digest: await text(`${section.name}\0`) },
      { pcr: 11, digest: known(section[bank]) },
    );
  return [
    { pcr: 4, digest: known(imageHash) },
    { pcr: 4, digest: await text("Calling EFI Application from Boot Option") },
    { pcr: 4, digest: await hash(new Uint8Array(4)) },
    ...sections,
    { pcr: 12, digest: line },
    { pcr: 4, digest: known(kernelHash) },
    { pcr: 9, digest: line },
    { pcr: 9, digest: known(initrd[bank]) },
    { pcr: 5, digest: await text("Exit Boot Services Invocation") },
    { pcr: 5, digest: await text("Exit Boot Services Returned with Success") },
  ];
}

/**
 * The stub takes white space away, blanks what is no character and takes a first word with an at sign for itself, so only a line that
 * stays itself is computed.
 */
function lineBytes(line: string): Uint8Array {
  if (!/^(?!@)[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(line) || line.length > 2047)
    throw new TpmFault("a command line is words of printable ASCII with one space between them");
  const bytes = new Uint8Array(line.length * 2 + 2);
  for (let index = 0; index < line.length; index++) bytes[index * 2] = line.charCodeAt(index);
  return bytes;
}
