// SPDX-License-Identifier: Apache-2.0
/**
 * An archive as the kernel unpacks it for an initramfs (cpio "newc"). Not compressed: a compressor's bytes change with its
 * version, and the hash of this file is what a verifier holds a machine against. Names come in one order, every time and owner is 0.
 */

export interface Entry {
  /** Relative, without a leading slash; its folders are made along the way. */
  path: string;
  bytes: Uint8Array;
  mode: number;
}

const FOLDER = 0o040755;
const FILE = 0o100000;
const ALIGN = 4;
/** The whole is padded to this, as archives for tapes were; loaders expect it. */
const RECORD = 512;

export function cpioArchive(entries: readonly Entry[]): Buffer {
  const all = new Map<string, { mode: number; bytes: Uint8Array }>();
  for (const { path, bytes, mode } of entries) {
    if (!/^[A-Za-z0-9._+-]+(\/[A-Za-z0-9._+-]+)*$/.test(path) || path.split("/").includes(".."))
      throw new RangeError(`${path} is no path in an archive`);
    if (all.has(path)) throw new RangeError(`${path} is there twice`);
    for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1))
      all.set(path.slice(0, at), { mode: FOLDER, bytes: Buffer.alloc(0) });
    all.set(path, { mode: FILE | mode, bytes });
  }
  const parts: Uint8Array[] = [];
  let inode = 0;
  for (const [path, { mode, bytes }] of [...all].sort(([a], [b]) => (a < b ? -1 : 1)))
    parts.push(...record(path, ++inode, mode, bytes));
  parts.push(...record("TRAILER!!!", 0, 0, Buffer.alloc(0)));
  const archive = Buffer.concat(parts);
  return Buffer.concat([archive, Buffer.alloc(padding(archive.length, RECORD))]);
}

function record(path: string, inode: number, mode: number, bytes: Uint8Array): Uint8Array[] {
  const links = mode >> 12 === 4 ? 2 : 1;
  const fields = [inode, mode, 0, 0, links, 0, bytes.length, 0, 0, 0, 0, path.length + 1, 0];
  const head = Buffer.from(
    `070701${fields.map((each) => each.toString(16).padStart(8, "0")).join("")}${path}\0`,
  );
  return [head, Buffer.alloc(padding(head.length, ALIGN)), bytes, Buffer.alloc(padding(bytes.length, ALIGN))];
}

const padding = (length: number, unit: number) => (unit - (length % unit)) % unit;
