// SPDX-License-Identifier: Apache-2.0
/**
 * What OVMF says of itself: a table of GUIDs that ends 32 bytes before the image's end and is read from
 * there backwards, and the list of pages that the firmware wants prepared before the guest starts.
 * The image comes from whoever built it, so every offset is checked; a firmware that cannot be read has
 * no launch digest.
 */
export class FirmwareFault extends Error {}

export interface MetadataSection {
  address: number;
  length: number;
  type: number;
}

/** Section types of OVMF's SEV metadata. */
export const SECTION = { memory: 1, secrets: 2, cpuid: 3, callingArea: 4, kernelHashes: 0x10 } as const;

export interface Firmware {
  /** The image ends at 4 GiB. */
  address: bigint;
  bytes: Uint8Array;
  sections: MetadataSection[];
  /** Where processors other than the first start; null when the firmware does not say. */
  resetAddress: number | null;
  /** Where QEMU puts the hashes of kernel, initrd and command line. */
  hashTableAddress: number | null;
}

const FOUR_GIB = 0x1_0000_0000n;
const FIRMWARE_BYTES_MAX = 64 * 1024 * 1024;
const ENTRY_BYTES = 18;
const SECTIONS_MAX = 64;
const SECTION_BYTES_MAX = 64 * 1024 * 1024;

const FOOTER = "96b582de-1fb2-45f7-baea-a366c55a082d";
const HASH_TABLE = "7255371f-3a3b-4b04-927b-1da6efa8d454";
const RESET_BLOCK = "00f771de-1a7e-4fcb-890e-68c77e2fb44e";
const SEV_METADATA = "dc886566-984a-4798-a75e-5585a7bf67cc";

/** Throws `FirmwareFault`. */
export function readFirmware(bytes: Uint8Array): Firmware {
  if (bytes.length === 0 || bytes.length % 4096 !== 0 || bytes.length > FIRMWARE_BYTES_MAX)
    throw new FirmwareFault("the firmware is not a whole number of pages, or larger than 64 MiB");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries = readTable(bytes, view);
  const first = (guid: string) => {
    const entry = entries.get(guid);
    if (entry === undefined) return null;
    if (entry.length < 4) throw new FirmwareFault("an entry of the firmware's table is too short");
    return view.getUint32(entry.from, true);
  };
  const offset = first(SEV_METADATA);
  return {
    address: FOUR_GIB - BigInt(bytes.length),
    bytes,
    sections: offset === null ? [] : readSections(view, bytes.length - offset),
    resetAddress: first(RESET_BLOCK),
    hashTableAddress: first(HASH_TABLE),
  };
}

function readTable(bytes: Uint8Array, view: DataView): Map<string, { from: number; length: number }> {
  const entries = new Map<string, { from: number; length: number }>();
  const footer = bytes.length - 32 - ENTRY_BYTES;
  if (guidAt(view, footer + 2) !== FOOTER) throw new FirmwareFault("the firmware has no table of GUIDs");
  const start = footer + ENTRY_BYTES - view.getUint16(footer, true);
  if (start < 0 || start > footer) throw new FirmwareFault("the firmware's table does not fit into it");
  for (let end = footer; end > start; ) {
    if (end - ENTRY_BYTES < start) throw new FirmwareFault("an entry of the firmware's table is cut off");
    const length = view.getUint16(end - ENTRY_BYTES, true);
    if (length < ENTRY_BYTES || end - length < start)
      throw new FirmwareFault("an entry of the firmware's table has no such length");
    const guid = guidAt(view, end - 16);
    if (entries.has(guid)) throw new FirmwareFault("an entry of the firmware's table occurs twice");
    entries.set(guid, { from: end - length, length: length - ENTRY_BYTES });
    end -= length;
  }
  return entries;
}

function readSections(view: DataView, at: number): MetadataSection[] {
  if (at < 0 || at + 16 > view.byteLength)
    throw new FirmwareFault("the SEV metadata lie outside the firmware");
  // "ASEV", the length of all, a version, a count.
  const count = view.getUint32(at + 12, true);
  if (view.getUint32(at, false) !== 0x41534556 || view.getUint32(at + 8, true) !== 1)
    throw new FirmwareFault("the SEV metadata have another form");
  if (count > SECTIONS_MAX || at + 16 + count * 12 > view.byteLength)
    throw new FirmwareFault("the SEV metadata name too many sections");
  return Array.from({ length: count }, (_, index) => {
    const from = at + 16 + index * 12;
    const [address, length, type] = [0, 4, 8].map((offset) => view.getUint32(from + offset, true)) as [
      number,
      number,
      number,
    ];
    if (length > SECTION_BYTES_MAX || length % 4096 !== 0 || address % 4096 !== 0)
      throw new FirmwareFault("a section of the SEV metadata is no number of pages");
    return { address, length, type };
  });
}

/** A GUID in the order in which it lies in memory: three numbers little-endian, then bytes. */
function guidAt(view: DataView, at: number): string {
  if (at < 0) throw new FirmwareFault("the firmware is too short");
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  const rest = Array.from({ length: 8 }, (_, index) => hex(view.getUint8(at + 8 + index), 2)).join("");
  return [
    hex(view.getUint32(at, true), 8),
    hex(view.getUint16(at + 4, true), 4),
    hex(view.getUint16(at + 6, true), 4),
    rest.slice(0, 4),
    rest.slice(4),
  ].join("-");
}

export function guidBytes(guid: string): Uint8Array {
  const bytes = Uint8Array.from(guid.replaceAll("-", "").match(/../g)!, (pair) => Number.parseInt(pair, 16));
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return bytes;
}
