// SPDX-License-Identifier: Apache-2.0
/** On a stub that is written out here, header by header; that firmware starts what comes of a real one is build.deep.test.ts's. */
import { hash } from "node:crypto";
import { expect, test } from "vitest";
import { bootFactsOf } from "#evidence/tpm/expected.ts";
import { authenticodeSha256 } from "#evidence/tpm/pe.ts";
import { readPe } from "./pe.ts";
import { assembleUki } from "./uki.ts";

const HEADER_BYTES = 0x400;
const OPTIONAL = 0x98;
const TABLE = OPTIONAL + 240;

/** 64 bits, sections as systemd's has them, and symbols behind them. */
function stub({ sections = [".text", ".sbat", ".sdmagic"], headerBytes = HEADER_BYTES } = {}): Buffer {
  const head = Buffer.alloc(headerBytes);
  head.write("MZ");
  head.writeUInt32LE(0x80, 0x3c);
  head.write("PE\0\0", 0x80, "latin1");
  head.writeUInt16LE(sections.length, 0x86);
  head.writeUInt32LE(12_345, 0x88); // time
  head.writeUInt32LE(headerBytes + 512 * sections.length, 0x8c); // symbols
  head.writeUInt16LE(240, 0x94);
  head.writeUInt16LE(0x20b, OPTIONAL);
  head.writeUInt32LE(512, OPTIONAL + 32);
  head.writeUInt32LE(512, OPTIONAL + 36);
  head.writeUInt32LE(headerBytes, OPTIONAL + 60);
  head.writeUInt32LE(0xbad, OPTIONAL + 64); // checksum
  head.writeUInt32LE(16, OPTIONAL + 108);
  sections.forEach((name, at) => {
    const entry = TABLE + 40 * at;
    head.write(name, entry);
    head.writeUInt32LE(100, entry + 8);
    head.writeUInt32LE(0x4000 + 0x1000 * at, entry + 12);
    head.writeUInt32LE(512, entry + 16);
    head.writeUInt32LE(headerBytes + 512 * at, entry + 20);
  });
  const bodies = Buffer.alloc(512 * sections.length, 7);
  bodies.write("#### LoaderInfo: systemd-stub 257.1 ####", 512 * Math.max(0, sections.indexOf(".sdmagic")));
  return Buffer.concat([head, bodies, Buffer.from("symbols")]);
}
const PARTS = {
  ".linux": Buffer.alloc(5_000, 1),
  ".initrd": Buffer.alloc(600, 2),
};

test("kernel and initramfs are sections behind the stub's, where its own still lie, and there is no command line", () => {
  const uki = assembleUki(stub(), PARTS);
  const { sections } = readPe(uki);
  expect(sections.map(({ name }) => name)).toEqual([".text", ".sbat", ".sdmagic", ".initrd", ".linux"]);
  for (const { name, fileOffset, virtualBytes } of sections.slice(3))
    expect(uki.subarray(fileOffset, fileOffset + virtualBytes)).toEqual(PARTS[name as keyof typeof PARTS]);
  // No two overlap in memory, and the whole is as large as it says.
  const byAddress = sections.map(
    (each) => [each.virtualAddress, each.virtualAddress + each.virtualBytes] as const,
  );
  const gaps = byAddress.slice(1).map(([start], at) => start - byAddress[at]![1]);
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(0);
  expect(uki.readUInt32LE(OPTIONAL + 56)).toBeGreaterThanOrEqual(byAddress.at(-1)![1]);
  expect(uki.includes("symbols")).toBe(false);
});

test("nothing of when it was made or in which order is in the bytes", () => {
  const turned = Object.fromEntries(Object.entries(PARTS).reverse()) as typeof PARTS;
  expect(assembleUki(stub(), turned)).toEqual(assembleUki(stub(), PARTS));
  expect(assembleUki(stub(), PARTS).readUInt32LE(0x88)).toBe(0);
});

const hashesOf = (bytes: Buffer) => ({ sha256: hash("sha256", bytes), sha384: hash("sha384", bytes) });

test("a verifier finds both sections in it, and the stub's that is measured, whole, and a hash that changes with each bit of them", async () => {
  const uki = assembleUki(stub(), PARTS);
  const { uki: measured } = await bootFactsOf(assembleUki(stub(), { ...PARTS, ".linux": stub() }));
  expect(measured.sections).toEqual([
    { name: ".linux", ...hashesOf(stub()) },
    { name: ".initrd", ...hashesOf(PARTS[".initrd"]) },
    { name: ".sbat", ...hashesOf(Buffer.alloc(100, 7)) },
  ]);
  const before = await authenticodeSha256(uki);
  uki[uki.length - 600]! ^= 1;
  expect(await authenticodeSha256(uki)).not.toBe(before);
});

test.each([
  ["a stub with a command line", stub({ sections: [".text", ".cmdline"] }), /ours to add/],
  ["a stub with a kernel", stub({ sections: [".linux"] }), /ours to add/],
  ["a stub without room in its headers", stub({ headerBytes: TABLE + 120 }), /no room/],
  ["no PE file", Buffer.from("#!/bin/sh\n".repeat(100)), /no PE file/],
  ["a file that is cut off", stub().subarray(0, 0x90), /cut off/],
  ["a section that ends after the file", stub().subarray(0, HEADER_BYTES + 600), /ends after the file/],
])("%s is refused", (_, file, complaint) => {
  expect(() => assembleUki(file, PARTS)).toThrow(complaint);
});
