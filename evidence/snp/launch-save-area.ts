// SPDX-License-Identifier: Apache-2.0
/**
 * A processor's state before its first instruction, as QEMU with KVM hands it to the firmware: the VMSA
 * (AMD64 Architecture Programmer's Manual, volume 2, appendix B). It is measured, so that the operator
 * cannot start a processor somewhere else. Every byte that is not named here is zero.
 */
const PAGE_BYTES = 4096;
/** Where the first processor starts: sixteen bytes below 4 GiB. */
export const FIRST_START = 0xffff_fff0;

export interface Processor {
  /** What CPUID function 1 answers in EAX: family, model and stepping of the type that is emulated. */
  signature: number;
  /** SEV_FEATURES: bit 0 is SNP. */
  features: bigint;
}

export function saveArea(start: number, { signature, features }: Processor): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES);
  const view = new DataView(page.buffer);
  const segment = (at: number, selector: number, attributes: number, base = 0) => {
    view.setUint16(at, selector, true);
    view.setUint16(at + 2, attributes, true);
    view.setUint32(at + 4, 0xffff, true);
    view.setBigUint64(at + 8, BigInt(base), true);
  };
  const quad = (at: number, value: bigint) => view.setBigUint64(at, value, true);
  // es, cs, ss, ds, fs, gs, then the tables and the task register.
  segment(0x00, 0, 0x93);
  segment(0x10, 0xf000, 0x9b, (start & 0xffff_0000) >>> 0);
  segment(0x20, 0, 0x93);
  segment(0x30, 0, 0x93);
  segment(0x40, 0, 0x93);
  segment(0x50, 0, 0x93);
  segment(0x60, 0, 0);
  segment(0x70, 0, 0x82);
  segment(0x80, 0, 0);
  segment(0x90, 0, 0x8b);
  quad(0xd0, 0x1000n); // efer: SVME
  quad(0x148, 0x40n); // cr4: MCE
  quad(0x158, 0x10n); // cr0: ET
  quad(0x160, 0x400n); // dr7
  quad(0x168, 0xffff0ff0n); // dr6
  quad(0x170, 0x2n); // rflags
  quad(0x178, BigInt(start & 0xffff)); // rip
  quad(0x268, 0x7040600070406n); // g_pat
  quad(0x310, BigInt(signature)); // rdx
  quad(0x3b0, features);
  quad(0x3e8, 1n); // xcr0
  view.setUint32(0x408, 0x1f80, true); // mxcsr
  view.setUint16(0x410, 0x37f, true); // x87 control word
  return page;
}

/** EAX of CPUID function 1, from what a processor's data sheet says. */
export function processorSignature(family: number, model: number, stepping: number): number {
  const low = Math.min(family, 0xf);
  const high = family - low;
  return ((high << 20) | ((model >> 4) << 16) | (low << 8) | ((model & 0xf) << 4) | (stepping & 0xf)) >>> 0;
}
