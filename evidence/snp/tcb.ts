// SPDX-License-Identifier: Apache-2.0
/**
 * TCB_VERSION: eight bytes that say how old the firmware's parts are. Milan and Genoa have one layout,
 * Turin another (56860, "TCB Version"). Reserved bytes are zero; a byte that is not is refused, since it
 * is a part whose age nobody here compares.
 */
import type { Product } from "./products.ts";

export const TCB_PARTS = ["fmc", "bootloader", "tee", "snp", "microcode"] as const;
export type TcbPart = (typeof TCB_PARTS)[number];
/** `fmc` is Turin's alone. */
export type Tcb = Readonly<Partial<Record<TcbPart, number>>>;

const OFFSETS: Record<Product, Tcb> = {
  Milan: { bootloader: 0, tee: 1, snp: 6, microcode: 7 },
  Genoa: { bootloader: 0, tee: 1, snp: 6, microcode: 7 },
  Turin: { fmc: 0, bootloader: 1, tee: 2, snp: 3, microcode: 7 },
};

/** The number that ends each part's extension, 1.3.6.1.4.1.3704.1.3.<n> (57230, the leaf's extensions). */
const SPL: Record<TcbPart, number> = { fmc: 9, bootloader: 1, tee: 2, snp: 3, microcode: 8 };

export function partsOf(product: Product): TcbPart[] {
  return TCB_PARTS.filter((part) => OFFSETS[product][part] !== undefined);
}

/** Null when a reserved byte is not zero. */
export function readTcb(raw: Uint8Array, product: Product): Tcb | null {
  const offsets = OFFSETS[product];
  const used = new Set(Object.values(offsets));
  if (raw.length !== 8 || raw.some((byte, index) => byte !== 0 && !used.has(index))) return null;
  return Object.fromEntries(partsOf(product).map((part) => [part, raw[offsets[part]!]!]));
}

/** From a leaf's SPL extensions. Null when one is missing, or one that the line reserves is not zero. */
export function tcbOfLeaf(spl: ReadonlyMap<number, number>, product: Product): Tcb | null {
  const parts = partsOf(product);
  const used = new Set(parts.map((part) => SPL[part]));
  for (const [number, value] of spl) if (!used.has(number) && value !== 0) return null;
  if (parts.some((part) => !spl.has(SPL[part]))) return null;
  return Object.fromEntries(parts.map((part) => [part, spl.get(SPL[part])!]));
}

export function describeTcb(tcb: Tcb): string {
  return TCB_PARTS.flatMap((part) => (tcb[part] === undefined ? [] : [`${part} ${tcb[part]}`])).join(", ");
}

/** The parts of `tcb` that differ by `differs`; a part that only one of them has differs always. */
export function differing(tcb: Tcb, other: Tcb, differs: (a: number, b: number) => boolean): TcbPart[] {
  return TCB_PARTS.filter((part) => {
    const [a, b] = [tcb[part], other[part]];
    if (a === undefined || b === undefined) return a !== b;
    return differs(a, b);
  });
}
