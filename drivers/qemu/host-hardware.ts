// SPDX-License-Identifier: Apache-2.0
/**
 * Whether this computer can run confidential guests, and the two numbers that AMD's kind needs. All of it is
 * this host's word about itself: enough to decide what to start, nothing that a client could rely on.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";

export type Found<T> = ({ there: true; says: string } & T) | { there: false; why: string };

export interface SnpNumbers {
  /** The bit of a page table entry that says "encrypted", and how many bits of an address it costs. */
  cBitPosition: number;
  reducedPhysBits: number;
}

const SNP_PARAMETER = "/sys/module/kvm_amd/parameters/sev_snp";
const SNP_DEVICE = "/dev/sev";
const TDX_PARAMETER = "/sys/module/kvm_intel/parameters/tdx";
const CPUID_DEVICE = "/dev/cpu/0/cpuid";

/** The leaf on memory encryption: EBX has the C-bit in its bits 5:0 and the lost address bits in 11:6. */
const CPUID_ENCRYPTION = 0x8000001f;
const CPUID_BYTES = 16;
const EBX_OFFSET = 4;

/** `root` stands before every path; empty on a real computer. */
export function findSnp(root: string): Found<{ numbers: SnpNumbers | null }> {
  const on = switchedOn(root, SNP_PARAMETER, "not an AMD host with kvm_amd");
  if (!on.there) return on;
  if (!existsSync(root + SNP_DEVICE))
    return { there: false, why: `${on.says}, but there is no ${SNP_DEVICE}` };
  return { ...on, numbers: readSnpNumbers(root) };
}

export const findTdx = (root: string): Found<object> =>
  switchedOn(root, TDX_PARAMETER, "not an Intel host whose kvm_intel knows TDX");

/** Null where the kernel does not show the leaf (`modprobe cpuid`). */
export function readSnpNumbers(root: string): SnpNumbers | null {
  const leaf = Buffer.alloc(CPUID_BYTES);
  try {
    const file = openSync(root + CPUID_DEVICE, "r");
    try {
      // The device takes the leaf's number as the position.
      if (readSync(file, leaf, 0, CPUID_BYTES, CPUID_ENCRYPTION) !== CPUID_BYTES) return null;
    } finally {
      closeSync(file);
    }
  } catch {
    return null;
  }
  const ebx = leaf.readUInt32LE(EBX_OFFSET);
  // A processor without the leaf answers zero or the highest leaf it has; bits below 32 are never the C-bit.
  const cBitPosition = ebx & 0x3f;
  return cBitPosition < 32 ? null : { cBitPosition, reducedPhysBits: (ebx >>> 6) & 0x3f };
}

function switchedOn(root: string, path: string, without: string): Found<object> {
  let value: string;
  try {
    value = readFileSync(root + path, "utf8").trim();
  } catch {
    return { there: false, why: `${without} (no ${path})` };
  }
  return ["Y", "1"].includes(value)
    ? { there: true, says: `${path} says ${value}` }
    : { there: false, why: `${path} says ${value}: switch it on in firmware and kernel` };
}
