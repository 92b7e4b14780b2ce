// SPDX-License-Identifier: Apache-2.0
/**
 * What a verifier expects of a guest on SEV-SNP: reference values it has computed or been given, and how
 * old firmware may be. The attacker is an operator who runs another guest, or an old firmware, on
 * real hardware with real certificates.
 *
 *  A. Fail closed: a policy without a measurement, or without a floor for the line that the report is
 *     from, refuses. Leaving a value out never means that any value will do.
 *  B. The member set is closed: a mistyped member would be a demand that nobody makes.
 *  C. Nothing here can allow a guest that may be debugged.
 */
import { hexOf } from "../bytes.ts";
import { PRODUCTS, type Product } from "../snp/products.ts";
import { describeTcb, differing, partsOf, type Tcb } from "../snp/tcb.ts";
import type { Demands, SnpFacts } from "../snp/verify.ts";
import { requireStep, type Unasked } from "../steps.ts";
import { objectOf, openMembers, printable } from "./members.ts";

export interface SnpPolicy {
  /** Launch digests that are accepted, 96 hex digits each. */
  measurements: readonly string[];
  /** Per line, the oldest firmware that is accepted, for the reported TCB and for the one at launch. */
  tcbFloors: Readonly<Partial<Record<Product, Tcb>>>;
  /** VMPLs a report may be asked for at; 0 unless said. */
  vmpls: readonly number[];
  /** Which keys may sign; both unless said. */
  signingKeys: readonly ("VCEK" | "VLEK")[];
  /** Of VLEKs, the providers that are accepted; any unless said. */
  providers: readonly string[] | null;
  /** A migration agent gets the guest's state. Refused unless said. */
  migrationAgentAllowed: boolean;
  /** Whether a revocation list must be given; it must unless said. */
  crlRequired: boolean;
  /**
   * SHA-256 of leaves that are accepted no more, of their DER or of their public keys: AMD gives all leaves the same serial number, and
   * anybody can have a new certificate of the same key from its service.
   */
  revokedLeaves: readonly string[];
  guestSvnMin: number;
  hostData: readonly string[] | null;
  idKeyDigests: readonly string[] | null;
  authorKeyDigests: readonly string[] | null;
}

/** What this one asks, beside a policy: bytes that the guest was to bind into this report. */
export interface Expectation {
  /** 64 bytes, such as a nonce and a key's hash. */
  reportData?: Uint8Array;
}

export type PolicyReading = { ok: true; policy: SnpPolicy } | { ok: false; faults: string[] };

/** @param value What a policy file's member `snp` holds. */
export function parseSnpPolicy(value: unknown): PolicyReading {
  const from = openMembers("snp", value);
  if (!from.ok) return from;
  const { faults, members } = from;
  const isVmpl = (one: unknown): one is number =>
    Number.isInteger(one) && (one as number) >= 0 && (one as number) <= 3;
  const isKind = (one: unknown): one is "VCEK" | "VLEK" => one === "VCEK" || one === "VLEK";
  const isText = (one: unknown): one is string => typeof one === "string" && /^[\x20-\x7e]{1,256}$/.test(one);
  const policy: SnpPolicy = {
    measurements: members.hex("measurements", 48) ?? [],
    tcbFloors: parseFloors(members.take("tcbFloors"), faults),
    vmpls: members.list("vmpls", isVmpl, "numbers from 0 to 3") ?? [0],
    signingKeys: members.list("signingKeys", isKind, "VCEK and VLEK") ?? ["VCEK", "VLEK"],
    providers: members.list("providers", isText, "texts"),
    migrationAgentAllowed: members.flag("migrationAgentAllowed") ?? false,
    crlRequired: members.flag("crlRequired") ?? true,
    revokedLeaves: members.hex("revokedLeaves", 32) ?? [],
    guestSvnMin: members.count("guestSvnMin") ?? 0,
    hostData: members.hex("hostData", 32),
    idKeyDigests: members.hex("idKeyDigests", 48),
    authorKeyDigests: members.hex("authorKeyDigests", 48),
  };
  members.refuseOthers();
  return faults.length === 0 ? { ok: true, policy } : { ok: false, faults };
}

function parseFloors(value: unknown, faults: string[]): SnpPolicy["tcbFloors"] {
  if (value === undefined) return {};
  const from = objectOf(value);
  if (from === null) {
    faults.push("snp.tcbFloors must be an object");
    return {};
  }
  const floors: Partial<Record<Product, Tcb>> = {};
  for (const [name, floor] of Object.entries(from)) {
    const product = PRODUCTS.find((one) => one === name);
    const parts = objectOf(floor);
    if (product === undefined || parts === null) {
      faults.push(`snp.tcbFloors.${printable(name)} is no line's floor`);
      continue;
    }
    const wanted = partsOf(product);
    const isByte = (one: unknown) => Number.isInteger(one) && (one as number) >= 0 && (one as number) <= 255;
    if (Object.keys(parts).length !== wanted.length || !wanted.every((part) => isByte(parts[part])))
      faults.push(`snp.tcbFloors.${product} must have ${wanted.join(", ")}, each from 0 to 255`);
    else floors[product] = parts as Tcb;
  }
  return floors;
}

type Judge = (facts: SnpFacts) => string | Promise<string>;

const MIGRATION: [string, Judge] = [
  "migration-agent",
  ({ report }) => {
    requireStep(
      !report.policy.migrationAgentAllowed,
      "The guest's policy lets a migration agent take its state (bit 18).",
    );
    return "The guest's policy allows no migration agent.";
  },
];

const NO_POLICY: readonly Unasked[] = [
  { name: "measurement", detail: "No policy says which guest is expected: this may be any guest." },
  { name: "tcb-floor", detail: "No policy says how old the firmware may be." },
];

const NO_REPORT_DATA: Unasked = {
  name: "report-data",
  detail: "Nobody said which report data is expected: the report may be an old one, or speak of another key.",
};

/** What is asked of a report's contents. Without a policy that is little, and `unasked` says what is left open. */
export function demandsOf(policy: SnpPolicy | null, { reportData }: Expectation = {}): Demands {
  const judges: [string, Judge][] = policy === null ? [MIGRATION] : judgesOf(policy);
  if (reportData !== undefined)
    judges.push([
      "report-data",
      ({ report }) => {
        requireStep(
          hexOf(report.reportData) === hexOf(reportData),
          "The report data is not what was expected.",
        );
        return "The report data is what was expected.";
      },
    ]);
  return {
    judge: (facts) => judges.map(([name, judge]) => ({ name, judge: () => judge(facts) })),
    names: judges.map(([name]) => name),
    unasked: [...(policy === null ? NO_POLICY : []), ...(reportData === undefined ? [NO_REPORT_DATA] : [])],
    crlRequired: policy?.crlRequired ?? false,
  };
}

function judgesOf(policy: SnpPolicy): [string, Judge][] {
  const judges: [string, Judge][] = [];
  if (!policy.migrationAgentAllowed) judges.push(MIGRATION);
  judges.push([
    "measurement",
    ({ report }) => {
      const measured = hexOf(report.measurement);
      requireStep(policy.measurements.length > 0, "The policy names no measurement, so none is accepted.");
      requireStep(
        policy.measurements.includes(measured),
        `The measurement ${measured} is none of the policy's.`,
      );
      return `The measurement ${measured} is one of the policy's.`;
    },
  ]);
  judges.push([
    "tcb-floor",
    ({ leaf, reportedTcb, launchTcb }) => {
      const floor = policy.tcbFloors[leaf.product];
      requireStep(floor !== undefined, `The policy has no floor for ${leaf.product}, so none is accepted.`);
      for (const [name, tcb] of [
        ["reported", reportedTcb],
        ["launch", launchTcb],
      ] as const) {
        requireStep(tcb !== null, `The ${name} TCB cannot be read.`);
        const below = differing(tcb, floor, (a, b) => a < b);
        requireStep(
          below.length === 0,
          `The ${name} TCB (${describeTcb(tcb)}) is below the floor: ${below.join(", ")}.`,
        );
      }
      return `Reported and launch TCB are at least ${describeTcb(floor)}.`;
    },
  ]);
  judges.push([
    "vmpl-allowed",
    ({ report }) => {
      requireStep(policy.vmpls.includes(report.vmpl), `VMPL ${report.vmpl} is none of the policy's.`);
      return `VMPL ${report.vmpl} is one of the policy's.`;
    },
  ]);
  judges.push([
    "signer-allowed",
    ({ leaf }) => {
      requireStep(policy.signingKeys.includes(leaf.kind), `The policy accepts no ${leaf.kind}.`);
      if (leaf.providerId !== null && policy.providers !== null)
        requireStep(
          policy.providers.includes(leaf.providerId),
          `The provider ${leaf.providerId} is none of the policy's.`,
        );
      return `The policy accepts this ${leaf.kind}.`;
    },
  ]);
  judges.push([
    "guest-svn",
    ({ report }) => {
      requireStep(
        report.guestSvn >= policy.guestSvnMin,
        `The guest's version ${report.guestSvn} is below ${policy.guestSvnMin}.`,
      );
      return `The guest's version ${report.guestSvn} is at least ${policy.guestSvnMin}.`;
    },
  ]);
  if (policy.revokedLeaves.length > 0)
    judges.push([
      "leaf-revoked",
      async ({ leafHashes }) => {
        const isRevoked = (await leafHashes()).some((hash) => policy.revokedLeaves.includes(hash));
        requireStep(!isRevoked, "The policy has revoked this leaf.");
        return "The policy has not revoked this leaf.";
      },
    ]);
  const members = [
    ["host-data", "hostData", "host data"],
    ["id-key", "idKeyDigests", "id key"],
    ["author-key", "authorKeyDigests", "author key"],
  ] as const;
  for (const [name, member, words] of members) {
    const accepted = policy[member];
    if (accepted === null) continue;
    judges.push([
      name,
      ({ report }) => {
        if (member === "authorKeyDigests")
          requireStep(report.authorKeyEnabled, "The guest has no author key.");
        const { hostData, idKeyDigest, authorKeyDigest } = report;
        const said = { hostData, idKeyDigests: idKeyDigest, authorKeyDigests: authorKeyDigest }[member];
        requireStep(accepted.includes(hexOf(said)), `The ${words} is none of the policy's.`);
        return `The ${words} is one of the policy's.`;
      },
    ]);
  }
  return judges;
}
