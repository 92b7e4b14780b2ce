// SPDX-License-Identifier: Apache-2.0
/**
 * A unified kernel image: systemd's stub for firmware with the kernel and the initramfs as sections. There is no section with a
 * command line: what QEMU is given as `-append` would silently stand in for it while PCR 4 and 11 stay the same, so a
 * verifier who trusted it would be deceived. The whole line is given outside and measured into PCR 9 and 12.
 */
import { PeFault, readPe, SECTION_BYTES } from "./pe.ts";

type SectionName = ".linux" | ".initrd";

const PAGE = 4096;
/** Initialised data, readable. */
const FLAGS = 0x40000040;
const SIZE_OF_IMAGE_AT = 56;
const CHECKSUM_AT = 64;
const TIME_AT = -16;
const SYMBOLS_AT = -12;
const SECTIONS_AT = -18;

export function assembleUki(stub: Buffer, given: Record<SectionName, Buffer>): Buffer {
  const { optional, table, sections, fileAlign, headerBytes } = readPe(stub);
  if (sections.some(({ name }) => name === ".cmdline" || Object.hasOwn(given, name)))
    throw new PeFault("the stub has a section that is ours to add");
  const added = Object.entries(given).sort(([a], [b]) => (a < b ? -1 : 1));
  const room = Math.min(headerBytes, ...sections.map(({ fileOffset }) => fileOffset)) - table;
  if ((sections.length + added.length) * SECTION_BYTES > room)
    throw new PeFault("the stub's headers have no room for our sections");
  // Behind the sections of a stub lie symbols for a debugger; they are left out.
  const bodyEnd = Math.max(...sections.map(({ fileOffset, fileBytes }) => fileOffset + fileBytes));
  const parts: Buffer[] = [Buffer.from(stub.subarray(0, bodyEnd))];
  const head = parts[0]!;
  let fileEnd = bodyEnd;
  const pad = () => {
    const bytes = up(fileEnd, fileAlign) - fileEnd;
    parts.push(Buffer.alloc(bytes));
    fileEnd += bytes;
  };
  pad();
  let address = up(Math.max(...sections.map((each) => each.virtualAddress + each.virtualBytes)), PAGE);
  for (const [at, [name, bytes]] of added.entries()) {
    const entry = table + (sections.length + at) * SECTION_BYTES;
    head.fill(0, entry, entry + SECTION_BYTES);
    head.write(name, entry, "latin1");
    head.writeUInt32LE(bytes.length, entry + 8);
    head.writeUInt32LE(address, entry + 12);
    head.writeUInt32LE(up(bytes.length, fileAlign), entry + 16);
    head.writeUInt32LE(fileEnd, entry + 20);
    head.writeUInt32LE(FLAGS, entry + 36);
    parts.push(bytes);
    fileEnd += bytes.length;
    pad();
    address = up(address + bytes.length, PAGE);
  }
  head.writeUInt16LE(sections.length + added.length, optional + SECTIONS_AT);
  head.writeUInt32LE(0, optional + TIME_AT);
  head.fill(0, optional + SYMBOLS_AT, optional + SYMBOLS_AT + 8);
  head.writeUInt32LE(address, optional + SIZE_OF_IMAGE_AT);
  head.writeUInt32LE(0, optional + CHECKSUM_AT);
  return Buffer.concat(parts);
}

const up = (value: number, unit: number) => Math.ceil(value / unit) * unit;
