// SPDX-License-Identifier: Apache-2.0
/** A computer made of a folder. A sparse file answers for the processor: the leaf's number is the position in it. */
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { findSnp, findTdx, readSnpNumbers } from "./host-hardware.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "casemate-hardware-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const write = (path: string, text: string) => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
};
const processor = (ebx: number, bytes = 16) => {
  write("/dev/cpu/0/cpuid", "");
  const leaf = Buffer.alloc(bytes);
  if (bytes >= 8) leaf.writeUInt32LE(ebx, 4);
  const file = openSync(join(root, "/dev/cpu/0/cpuid"), "r+");
  writeSync(file, leaf, 0, bytes, 0x8000001f);
  closeSync(file);
};

it("reads where the C-bit is and what it costs", () => {
  processor((5 << 6) | 51);
  expect(readSnpNumbers(root)).toEqual({ cBitPosition: 51, reducedPhysBits: 5 });
  processor((1 << 6) | 47);
  expect(readSnpNumbers(root)).toEqual({ cBitPosition: 47, reducedPhysBits: 1 });
});

it("knows no numbers of a processor without the leaf, with half of it, or that is not shown", () => {
  expect(readSnpNumbers(root)).toBeNull();
  processor(0);
  expect(readSnpNumbers(root)).toBeNull();
  processor(51, 8);
  expect(readSnpNumbers(root)).toBeNull();
});

it("finds SNP only where the kernel says that it is on and the device is there", () => {
  expect(findSnp(root)).toMatchObject({ there: false, why: expect.stringContaining("no /sys/module") });
  write("/sys/module/kvm_amd/parameters/sev_snp", "N\n");
  expect(findSnp(root)).toMatchObject({ there: false, why: expect.stringContaining("says N") });
  write("/sys/module/kvm_amd/parameters/sev_snp", "Y\n");
  expect(findSnp(root)).toMatchObject({ there: false, why: expect.stringContaining("no /dev/sev") });
  write("/dev/sev", "");
  expect(findSnp(root)).toMatchObject({ there: true, numbers: null });
  processor((1 << 6) | 51);
  expect(findSnp(root)).toMatchObject({ there: true, numbers: { cBitPosition: 51, reducedPhysBits: 1 } });
});

it("finds TDX only where the kernel says that it is on", () => {
  expect(findTdx(root)).toMatchObject({ there: false, why: expect.stringContaining("no /sys/module") });
  write("/sys/module/kvm_intel/parameters/tdx", "N\n");
  expect(findTdx(root)).toMatchObject({ there: false });
  write("/sys/module/kvm_intel/parameters/tdx", "Y\n");
  expect(findTdx(root)).toMatchObject({ there: true });
});
