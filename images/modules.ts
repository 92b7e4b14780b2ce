// SPDX-License-Identifier: Apache-2.0
/**
 * Modules of the kernel's package in the order they must be loaded. What each depends on it says itself, in its section
 * `.modinfo`; the package has no list of that, it is made where a package is installed.
 */
import { execFileSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";

export interface KernelModule {
  name: string;
  bytes: Buffer;
}

const MODULE_BYTES_MAX = 64 * 2 ** 20;

/** `folder` is `/lib/modules/<version>` of an unpacked package. */
export function orderModules(folder: string, wanted: readonly string[]): KernelModule[] {
  const files = new Map(
    globSync("kernel/**/*.ko{,.xz}", { cwd: folder }).map((path) => [nameOf(path), join(folder, path)]),
  );
  const builtIn = new Set(readFileSync(join(folder, "modules.builtin"), "utf8").split("\n").map(nameOf));
  const order: KernelModule[] = [];
  const taken = new Set<string>();
  const take = (name: string, neededBy: string) => {
    if (taken.has(name) || builtIn.has(name)) return;
    taken.add(name);
    const path = files.get(name);
    if (path === undefined) throw new Error(`the kernel has no module ${name}, which ${neededBy} needs`);
    const bytes = readModule(path);
    for (const below of dependsOf(bytes)) take(normal(below), name);
    order.push({ name, bytes });
  };
  for (const name of [...wanted].sort()) take(normal(name), "the image");
  return order;
}

/** The kernel reads `-` and `_` in a module's name as one. */
const normal = (name: string) => name.replaceAll("-", "_");
const nameOf = (path: string) => normal(basename(path).replace(/\.ko(\.xz)?$/, ""));

/** Unpacked, as it is put into an image: packing again would be another hash with another packer. */
function readModule(path: string): Buffer {
  if (!path.endsWith(".xz")) return readFileSync(path);
  return execFileSync("xz", ["--decompress", "--stdout", path], { maxBuffer: MODULE_BYTES_MAX });
}

const SECTION_BYTES = 64;

/** Of a 64-bit little-endian ELF file. */
export function dependsOf(file: Buffer): string[] {
  const fault = () => new Error("this is no kernel module");
  if (file.length < 64 || file.readUInt32BE(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1)
    throw fault();
  const table = Number(file.readBigUInt64LE(40));
  const count = file.readUInt16LE(60);
  const namesAt = file.readUInt16LE(62);
  if (table + count * SECTION_BYTES > file.length || namesAt >= count) throw fault();
  const section = (at: number) => {
    const head = table + at * SECTION_BYTES;
    const [start, length] = [file.readBigUInt64LE(head + 24), file.readBigUInt64LE(head + 32)].map(Number);
    return { name: file.readUInt32LE(head), bytes: file.subarray(start, start! + length!) };
  };
  const names = section(namesAt).bytes;
  for (let at = 0; at < count; at++) {
    const { name, bytes } = section(at);
    if (names.toString("latin1", name, names.indexOf(0, name)) !== ".modinfo") continue;
    const line = bytes
      .toString("latin1")
      .split("\0")
      .find((each) => each.startsWith("depends="));
    if (line === undefined) throw fault();
    return line.slice("depends=".length).split(",").filter(Boolean);
  }
  throw fault();
}
