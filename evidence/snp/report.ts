// SPDX-License-Identifier: Apache-2.0
/**
 * ATTESTATION_REPORT of SEV-SNP, versions 2 to 5 (56860, "ATTESTATION_REPORT Structure"): 1184 bytes,
 * little-endian, of which the first 672 are signed.
 *
 *  A. The length is exact. A version that is not known has no layout here, so nothing is read from it.
 *  B. Reserved bytes are zero, also the unsigned ones behind r and s: what a later version puts there
 *     is not understood here, and nothing may ride along unsigned. PLATFORM_INFO is the exception, its
 *     unknown bits describe the machine and permit nothing.
 *  C. Reserved bits of the guest's policy are zero, since a bit of the policy is a permission.
 *  D. Faults of form do not keep the rest from being read, so that every other step still has its answer.
 */
import { allZero } from "../bytes.ts";

export const REPORT_BYTES = 1184;
export const SIGNED_BYTES = 0x2a0;
const VERSIONS = [2, 3, 4, 5];
const ECDSA_P384_SHA384 = 1;

export interface SnpReport {
  version: number;
  guestSvn: number;
  policy: GuestPolicy;
  familyId: Uint8Array;
  imageId: Uint8Array;
  /** 0 to 3; 0xffffffff when the host asked for the report and not the guest. */
  vmpl: number;
  currentTcb: Uint8Array;
  platformInfo: bigint;
  authorKeyEnabled: boolean;
  maskChipKey: boolean;
  signingKey: "VCEK" | "VLEK" | "none" | "unknown";
  reportData: Uint8Array;
  measurement: Uint8Array;
  hostData: Uint8Array;
  idKeyDigest: Uint8Array;
  authorKeyDigest: Uint8Array;
  reportId: Uint8Array;
  reportIdOfMigrationAgent: Uint8Array;
  reportedTcb: Uint8Array;
  /** From version 3 on. */
  cpuid: { family: number; model: number; stepping: number } | null;
  chipId: Uint8Array;
  committedTcb: Uint8Array;
  launchTcb: Uint8Array;
  /** From version 5 on: which mitigations were in force at launch, and are now. */
  mitigations: { launch: bigint; current: bigint } | null;
  signed: Uint8Array;
  /** r and s, 48 bytes each, most significant byte first. */
  signature: Uint8Array;
}

/** 56860, "Guest Policy". */
export interface GuestPolicy {
  raw: bigint;
  abiMinor: number;
  abiMajor: number;
  smtAllowed: boolean;
  migrationAgentAllowed: boolean;
  debugAllowed: boolean;
  singleSocketRequired: boolean;
}

export interface ReportReading {
  report: SnpReport | null;
  /** What is wrong with its form, in words. Empty for a well-formed one. */
  faults: string[];
}

export function parseSnpReport(bytes: Uint8Array): ReportReading {
  if (bytes.length !== REPORT_BYTES)
    return { report: null, faults: [`it has ${bytes.length} bytes instead of ${REPORT_BYTES}`] };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint32(0, true);
  if (!VERSIONS.includes(version)) return { report: null, faults: [`version ${version} is not known here`] };
  const part = (from: number, length: number) => bytes.subarray(from, from + length);
  const flags = view.getUint32(0x48, true);
  const report: SnpReport = {
    version,
    guestSvn: view.getUint32(0x04, true),
    policy: policyOf(view.getBigUint64(0x08, true)),
    familyId: part(0x10, 16),
    imageId: part(0x20, 16),
    vmpl: view.getUint32(0x30, true),
    currentTcb: part(0x38, 8),
    platformInfo: view.getBigUint64(0x40, true),
    authorKeyEnabled: (flags & 1) !== 0,
    maskChipKey: (flags & 2) !== 0,
    signingKey: ({ 0: "VCEK", 1: "VLEK", 7: "none" } as const)[(flags >>> 2) & 7] ?? "unknown",
    reportData: part(0x50, 64),
    measurement: part(0x90, 48),
    hostData: part(0xc0, 32),
    idKeyDigest: part(0xe0, 48),
    authorKeyDigest: part(0x110, 48),
    reportId: part(0x140, 32),
    reportIdOfMigrationAgent: part(0x160, 32),
    reportedTcb: part(0x180, 8),
    cpuid: version < 3 ? null : { family: bytes[0x188]!, model: bytes[0x189]!, stepping: bytes[0x18a]! },
    chipId: part(0x1a0, 64),
    committedTcb: part(0x1e0, 8),
    launchTcb: part(0x1f0, 8),
    mitigations:
      version < 5
        ? null
        : { launch: view.getBigUint64(0x1f8, true), current: view.getBigUint64(0x200, true) },
    signed: part(0, SIGNED_BYTES),
    signature: signatureOf(bytes),
  };
  return { report, faults: faultsOf(report, bytes, view) };
}

function policyOf(raw: bigint): GuestPolicy {
  const bit = (number: number) => (raw & (1n << BigInt(number))) !== 0n;
  return {
    raw,
    abiMinor: Number(raw & 0xffn),
    abiMajor: Number((raw >> 8n) & 0xffn),
    smtAllowed: bit(16),
    migrationAgentAllowed: bit(18),
    debugAllowed: bit(19),
    singleSocketRequired: bit(20),
  };
}

/** 16 SMT, 17 always one, 18 to 20 as above, 21 CXL, 22 AES-256-XTS, 23 RAPL, 24 ciphertext hiding, 25 page swap. */
const POLICY_RESERVED = ~((1n << 26n) - 1n) & ((1n << 64n) - 1n);
const POLICY_ALWAYS_ONE = 1n << 17n;

/** From, to; `below` is the first version that gave the bytes a meaning. */
const RESERVED: { from: number; to: number; below?: number }[] = [
  { from: 0x4c, to: 0x50 },
  { from: 0x188, to: 0x18b, below: 3 },
  { from: 0x18b, to: 0x1a0 },
  { from: 0x1eb, to: 0x1ec },
  { from: 0x1ef, to: 0x1f0 },
  { from: 0x1f8, to: 0x208, below: 5 },
  { from: 0x208, to: 0x2a0 },
  // r and s have 72 bytes each and are smaller than 2^384; what follows them is not signed.
  { from: 0x2a0 + 48, to: 0x2a0 + 72 },
  { from: 0x2e8 + 48, to: 0x2e8 + 72 },
  { from: 0x330, to: 0x4a0 },
];

function faultsOf(report: SnpReport, bytes: Uint8Array, view: DataView): string[] {
  const faults: string[] = [];
  const algorithm = view.getUint32(0x34, true);
  if (algorithm !== ECDSA_P384_SHA384)
    faults.push(`signature algorithm ${algorithm} is not ECDSA P-384 SHA-384`);
  if ((report.policy.raw & POLICY_RESERVED) !== 0n) faults.push("reserved bits of the guest policy are set");
  if ((report.policy.raw & POLICY_ALWAYS_ONE) === 0n) faults.push("bit 17 of the guest policy is not set");
  if (view.getUint32(0x48, true) >>> 5 !== 0) faults.push("reserved bits beside the signing key are set");
  for (const { from, to, below } of RESERVED) {
    if (below !== undefined && report.version >= below) continue;
    if (!allZero(bytes.subarray(from, to)))
      faults.push(`reserved bytes 0x${from.toString(16)} to 0x${(to - 1).toString(16)} are not zero`);
  }
  return faults;
}

/** The report has r and s least significant byte first (56860, "ECDSA P-384 with SHA-384 Signature"). */
function signatureOf(bytes: Uint8Array): Uint8Array {
  const signature = new Uint8Array(96);
  for (let index = 0; index < 48; index++) {
    signature[47 - index] = bytes[0x2a0 + index]!;
    signature[95 - index] = bytes[0x2e8 + index]!;
  }
  return signature;
}
