// SPDX-License-Identifier: Apache-2.0
/**
 * As much of a PE file, which is what firmware starts, as is needed to add sections to one. What firmware measures of it
 * is evidence/tpm's.
 */
export interface Section {
  name: string;
  virtualAddress: number;
  virtualBytes: number;
  fileOffset: number;
  fileBytes: number;
}

export interface PeFile {
  /** Offset of the optional header. */
  optional: number;
  /** Where the table of sections begins, and how many it has. */
  table: number;
  sections: Section[];
  fileAlign: number;
  headerBytes: number;
}

export const SECTION_BYTES = 40;
const HEADER_BYTES_AT = 60;
const FILE_ALIGN_AT = 36;

export class PeFault extends Error {}

export function readPe(file: Buffer): PeFile {
  try {
    const pe = file.readUInt32LE(0x3c);
    if (file.toString("latin1", 0, 2) !== "MZ" || file.toString("latin1", pe, pe + 4) !== "PE\0\0")
      throw new PeFault("this is no PE file");
    const optional = pe + 24;
    if (file.readUInt16LE(optional) !== 0x20b) throw new PeFault("this is no PE file of 64 bits");
    const table = optional + file.readUInt16LE(pe + 20);
    const sections = Array.from({ length: file.readUInt16LE(pe + 6) }, (_, at) => {
      const head = table + at * SECTION_BYTES;
      return {
        name: file.toString("latin1", head, head + 8).replace(/\0+$/, ""),
        virtualBytes: file.readUInt32LE(head + 8),
        virtualAddress: file.readUInt32LE(head + 12),
        fileBytes: file.readUInt32LE(head + 16),
        fileOffset: file.readUInt32LE(head + 20),
      };
    });
    const beyond = sections.find(({ fileOffset, fileBytes }) => fileOffset + fileBytes > file.length);
    if (beyond !== undefined) throw new PeFault(`section ${beyond.name} ends after the file`);
    const fileAlign = file.readUInt32LE(optional + FILE_ALIGN_AT);
    const headerBytes = file.readUInt32LE(optional + HEADER_BYTES_AT);
    return { optional, table, sections, fileAlign, headerBytes };
  } catch (error) {
    throw error instanceof PeFault ? error : new PeFault("the PE file is cut off", { cause: error });
  }
}
