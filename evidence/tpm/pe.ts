// SPDX-License-Identifier: Apache-2.0
/**
 * What firmware measures of a program before it starts it: the Authenticode hash of a PE file, and in a
 * unified kernel image the sections that its stub measures itself (Microsoft, "PE Format"; "Windows
 * Authenticode Portable Executable Signature Format"). The file is the verifier's own or was handed to it:
 * what two readers would read differently is refused.
 */
import { concatBytes, hexOf } from "../bytes.ts";
import { sha256, sha384 } from "../primitives.ts";
import { TpmFault } from "./wire.ts";

export interface PeSection {
  name: string;
  /** As it is in memory: without what only fills the file up. */
  bytes: Uint8Array;
}

interface Layout {
  checksumAt: number;
  certificatesAt: number;
  headerBytes: number;
  signatureBytes: number;
  sections: { name: string; memoryBytes: number; from: number; bytes: number }[];
}

const FILE_BYTES_MAX = 512 * 1024 * 1024;
const SECTIONS_MAX = 96;

function layoutOf(file: Uint8Array): Layout {
  if (file.length > FILE_BYTES_MAX) throw new TpmFault("it is larger than 512 MiB");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  try {
    const pe = view.getUint32(0x3c, true);
    const optional = pe + 24;
    if (view.getUint16(0, true) !== 0x5a4d || view.getUint32(pe, true) !== 0x4550)
      throw new TpmFault("it is no program of firmware's");
    if (view.getUint16(optional, true) !== 0x20b) throw new TpmFault("it is no program of 64 bits");
    if (view.getUint32(optional + 108, true) < 5) throw new TpmFault("it has no place for signatures");
    const table = optional + view.getUint16(pe + 20, true);
    const count = view.getUint16(pe + 6, true);
    if (count > SECTIONS_MAX) throw new TpmFault("it has too many sections");
    const headerBytes = view.getUint32(optional + 60, true);
    const sections = Array.from({ length: count }, (_, index) => {
      const head = table + index * 40;
      return {
        name: String.fromCharCode(...file.subarray(head, head + 8)).replace(/\0+$/, ""),
        memoryBytes: view.getUint32(head + 8, true),
        bytes: view.getUint32(head + 16, true),
        from: view.getUint32(head + 20, true),
      };
    });
    const layout = {
      checksumAt: optional + 64,
      certificatesAt: optional + 144,
      headerBytes,
      signatureBytes: view.getUint32(optional + 148, true),
      sections: sections.filter(({ bytes }) => bytes > 0).sort((a, b) => a.from - b.from),
    };
    requireTiling(layout, file.length);
    return layout;
  } catch (fault) {
    if (fault instanceof RangeError) throw new TpmFault("it is cut off");
    throw fault;
  }
}

/** Sections that overlap would be hashed twice by one reader and once by another. */
function requireTiling({ headerBytes, sections, signatureBytes }: Layout, fileBytes: number): void {
  let end = headerBytes;
  for (const { from, bytes } of sections) {
    if (from < end) throw new TpmFault("its sections overlap");
    end = from + bytes;
  }
  if (end + signatureBytes > fileBytes) throw new TpmFault("a section ends behind the file");
}

/** Throws `TpmFault`. */
export async function authenticodeSha256(file: Uint8Array): Promise<string> {
  return hexOf(await sha256(hashedOf(file)));
}

/** Throws `TpmFault`. */
export async function authenticodeSha384(file: Uint8Array): Promise<string> {
  return hexOf(await sha384(hashedOf(file)));
}

function hashedOf(file: Uint8Array): Uint8Array {
  const { checksumAt, certificatesAt, headerBytes, signatureBytes, sections } = layoutOf(file);
  const hashed = headerBytes + sections.reduce((sum, { bytes }) => sum + bytes, 0);
  return concatBytes(
    file.subarray(0, checksumAt),
    file.subarray(checksumAt + 4, certificatesAt),
    file.subarray(certificatesAt + 8, headerBytes),
    ...sections.map(({ from, bytes }) => file.subarray(from, from + bytes)),
    file.subarray(hashed, file.length - signatureBytes),
  );
}

/** Throws `TpmFault`, also for one name twice: it would be left to the stub which one counts. */
export function sectionsOf(file: Uint8Array): Map<string, PeSection> {
  const found = new Map<string, PeSection>();
  for (const { name, from, bytes, memoryBytes } of layoutOf(file).sections) {
    if (found.has(name)) throw new TpmFault("it has a section twice");
    found.set(name, { name, bytes: file.subarray(from, from + Math.min(bytes, memoryBytes)) });
  }
  return found;
}
