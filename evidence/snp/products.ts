// SPDX-License-Identifier: Apache-2.0
/**
 * The lines of processors, what tells them apart, and the root of each. A line has its own root and
 * its own layout of TCB_VERSION (56860, "TCB Version"), so taking one for another would compare
 * the wrong bytes.
 */
export const PRODUCTS = ["Milan", "Genoa", "Turin"] as const;
export type Product = (typeof PRODUCTS)[number];

/** SHA-256 of a root's DER, by line. A root is known by these and by nothing it says of itself. */
export type Roots = Readonly<Record<Product, readonly string[]>>;

/** The ARKs, as AMD's key distribution service hands them out at `/vcek/v1/<line>/cert_chain`. */
export const AMD_ROOTS: Roots = {
  Milan: ["69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"],
  Genoa: ["4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"],
  Turin: ["1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"],
};

export type LeafKind = "VCEK" | "VLEK";

/** Who issues a leaf says its line and its kind: `SEV-Milan` makes VCEKs, `SEV-VLEK-Milan` VLEKs. */
export function readIssuerName(name: string): { product: Product; kind: LeafKind } | null {
  for (const product of PRODUCTS) {
    if (name === `SEV-${product}`) return { product, kind: "VCEK" };
    if (name === `SEV-VLEK-${product}`) return { product, kind: "VLEK" };
  }
  return null;
}

/** Bergamo and Siena are Genoa's siblings and certified by its root. */
const NAMES: Record<Product, readonly string[]> = {
  Milan: ["Milan"],
  Genoa: ["Genoa", "Bergamo", "Siena"],
  Turin: ["Turin"],
};

/** The leaf's product name extension: a line, or a line and a stepping as in `Milan-B0`. */
export function isNameOf(product: Product, name: string): boolean {
  return NAMES[product].includes(name.split("-", 1)[0]!);
}

/** CPUID family and model as a report of version 3 and later carries them; null for a line unknown here. */
export function productOfCpuid(family: number, model: number): Product | null {
  if (family === 0x19 && model <= 0x0f) return "Milan";
  if (family === 0x19 && ((model >= 0x10 && model <= 0x1f) || (model >= 0xa0 && model <= 0xaf)))
    return "Genoa";
  if (family === 0x1a && model <= 0x11) return "Turin";
  return null;
}
