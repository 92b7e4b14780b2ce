// SPDX-License-Identifier: Apache-2.0
/**
 * A chain and reports like AMD's, under keys made on the spot: for tests and the benchmark. Nothing
 * accepts them but a verifier that was given their root. It is the one file of this folder that needs
 * Node's cryptography: it makes keys and signs.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import {
  bytesOf,
  type CertificatePlan,
  type CrlPlan,
  der,
  extension,
  integer,
  issuing,
  pss,
  signCertificate,
  signCrl,
  spkiOf,
  usage,
} from "../x509/specimen.ts";
import { AMD_ROOTS, type LeafKind, type Product, type Roots } from "./products.ts";
import { REPORT_BYTES, SIGNED_BYTES } from "./report.ts";

const VALID = { notBefore: "20260101000000Z", notAfter: "20360101000000Z" };
/** A moment at which everything made here is valid, unless it was asked to be otherwise. */
export const SPECIMEN_MS = Date.UTC(2026, 5, 1);

export interface SnpAuthority {
  product: Product;
  kind: LeafKind;
  roots: Roots;
  root: Uint8Array;
  intermediate: Uint8Array;
  issueIntermediate(change?: Partial<CertificatePlan>): Uint8Array;
  issueLeaf(change?: LeafChange): Leafs;
  signCrl(change?: Partial<CrlPlan>, by?: "root" | "intermediate"): Uint8Array;
}

export interface LeafChange extends Partial<CertificatePlan> {
  /** Extension numbers below 1.3.6.1.4.1.3704.1.3 and their values. */
  spl?: Record<number, number>;
  productName?: string;
  hardwareId?: Uint8Array | null;
  providerId?: string | null;
  /** Extensions beside AMD's. */
  more?: Uint8Array[];
}

export interface Leafs {
  der: Uint8Array;
  /** A report whose fields are as they should be for this leaf, and then as `change` makes them; signed. */
  report(change?: ReportChange): Uint8Array;
}

export interface ReportChange {
  version?: number;
  /** Offset → bytes, written before signing. */
  set?: Record<number, readonly number[]>;
}

const AMD = "1.3.6.1.4.1.3704.1";
/** CPUID family and model that reports of a line carry. */
const CPUID: Record<Product, [number, number]> = { Milan: [0x19, 1], Genoa: [0x19, 0x11], Turin: [0x1a, 2] };
const SPL: Record<Product, Record<number, number>> = {
  Milan: { 1: 3, 2: 0, 4: 0, 5: 0, 6: 0, 7: 0, 3: 8, 8: 115 },
  Genoa: { 1: 9, 2: 0, 4: 0, 5: 0, 6: 0, 7: 0, 3: 23, 8: 72 },
  Turin: { 9: 1, 1: 2, 2: 1, 3: 3, 5: 0, 6: 0, 7: 0, 8: 200 },
};
/** The same as `TCB_VERSION`, written out: a specimen that asked `tcb.ts` could not catch it. */
export const SPECIMEN_TCB: Record<Product, readonly number[]> = {
  Milan: [3, 0, 0, 0, 0, 0, 8, 115],
  Genoa: [9, 0, 0, 0, 0, 0, 23, 72],
  Turin: [1, 2, 1, 3, 0, 0, 0, 200],
};

export function makeAuthority(product: Product, kind: LeafKind = "VCEK", modulusLength = 2048): SnpAuthority {
  const rootKey = generateKeyPairSync("rsa", { modulusLength }).privateKey;
  const middleKey = generateKeyPairSync("rsa", { modulusLength }).privateKey;
  const rootName = `ARK-${product}`;
  const middleName = kind === "VCEK" ? `SEV-${product}` : `SEV-VLEK-${product}`;
  const plain = { ...VALID, algorithm: pss(), outerAlgorithm: pss() };
  const root = signCertificate(
    {
      ...plain,
      serial: 0x10000,
      issuer: rootName,
      subject: rootName,
      spki: spkiOf(rootKey),
      extensions: [issuing(true), usage(0x06)],
    },
    rootKey,
  );
  const issueIntermediate = (change: Partial<CertificatePlan> = {}) =>
    signCertificate(
      {
        ...plain,
        serial: 0x10001,
        issuer: rootName,
        subject: middleName,
        spki: spkiOf(middleKey),
        extensions: [issuing(true), usage(0x04)],
        ...change,
      },
      rootKey,
    );
  const hardwareId = Uint8Array.from(randomBytes(product === "Turin" ? 8 : 64));
  const issueLeaf = (change: LeafChange = {}): Leafs => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
    const { spl = SPL[product], productName = product, more = [], ...certificate } = change;
    const chip = change.hardwareId === undefined ? (kind === "VCEK" ? hardwareId : null) : change.hardwareId;
    const provider =
      change.providerId === undefined ? (kind === "VLEK" ? "CN=example" : null) : change.providerId;
    const extensions = [
      extension(`${AMD}.1`, integer(0)),
      extension(`${AMD}.2`, der(0x16, bytesOf(productName))),
      ...Object.entries(spl).map(([number, value]) => extension(`${AMD}.3.${number}`, integer(value))),
      ...(chip === null ? [] : [extension(`${AMD}.4`, chip)]),
      ...(provider === null ? [] : [extension(`${AMD}.5`, der(0x16, bytesOf(provider)))]),
      ...more,
    ];
    const leaf = signCertificate(
      {
        ...plain,
        serial: 0,
        issuer: middleName,
        subject: `SEV-${kind}`,
        spki: spkiOf(privateKey),
        extensions,
        ...certificate,
      },
      middleKey,
    );
    return { der: leaf, report: (asked) => signReport({ product, kind, hardwareId }, privateKey, asked) };
  };
  return {
    product,
    kind,
    roots: { ...AMD_ROOTS, [product]: [createHash("sha256").update(root).digest("hex")] },
    root,
    intermediate: issueIntermediate(),
    issueIntermediate,
    issueLeaf,
    signCrl: (change = {}, by = "root") => {
      const plan: CrlPlan = {
        issuer: by === "root" ? rootName : middleName,
        serials: [],
        thisUpdate: "20260501000000Z",
        nextUpdate: "20260801000000Z",
        extensions: [],
        algorithm: pss(),
        ...change,
      };
      return signCrl(plan, by === "root" ? rootKey : middleKey);
    },
  };
}

interface Chip {
  product: Product;
  kind: LeafKind;
  hardwareId: Uint8Array;
}

function signReport(
  { product, kind, hardwareId }: Chip,
  key: KeyObject,
  change: ReportChange = {},
): Uint8Array {
  const { version = product === "Turin" ? 5 : 3, set = {} } = change;
  const report = new Uint8Array(REPORT_BYTES);
  const tcb = SPECIMEN_TCB[product];
  report[0] = version;
  report.set([0x1f, 0, 3], 0x08);
  report[0x34] = 1;
  report[0x48] = kind === "VCEK" ? 0 : 1 << 2;
  report.set(randomBytes(64), 0x50);
  report.set(randomBytes(48), 0x90);
  report.set(randomBytes(32), 0x140);
  report.fill(0xff, 0x160, 0x180);
  for (const at of [0x38, 0x180, 0x1e0, 0x1f0]) report.set(tcb, at);
  if (version >= 3) report.set([...CPUID[product], 1], 0x188);
  if (kind === "VCEK") report.set(hardwareId, 0x1a0);
  for (const [at, bytes] of Object.entries(set)) report.set(bytes, Number(at));
  const signature = sign("sha384", report.subarray(0, SIGNED_BYTES), { key, dsaEncoding: "ieee-p1363" });
  report.set(signature.subarray(0, 48).reverse(), 0x2a0);
  report.set(signature.subarray(48).reverse(), 0x2e8);
  return report;
}
