// SPDX-License-Identifier: Apache-2.0
/**
 * What a verifier expects of a guest on TDX: reference values it has computed or been given, and which states
 * of a platform's TCB it takes. The attacker is an operator who runs another guest, or an old firmware,
 * on real hardware with real certificates.
 *
 *  A. Fail closed: a policy without an MRTD, or without a word on one of the four RTMRs, refuses. MRTD is the
 *     firmware alone; what it started is in the registers. `any` must be written to mean any.
 *  B. The member set is closed: a mistyped member would be a demand that nobody makes.
 *  C. Nothing here can allow a guest that may be debugged, or a platform that Intel has revoked.
 */
import { fromHex, hexOf } from "../bytes.ts";
import { requireStep, type Unasked } from "../steps.ts";
import { TCB_STATUSES, type TcbStatus } from "../tdx/tcb-status.ts";
import type { TdxDemands, TdxFacts } from "../tdx/verify.ts";
import { objectOf, openMembers, type PolicyMembers, printable } from "./members.ts";

const RTMRS = ["0", "1", "2", "3"] as const;
type Rtmr = (typeof RTMRS)[number];

export interface TdxPolicy {
  /** Of the firmware as it was loaded, 96 hex digits each. */
  mrTds: readonly string[];
  /** What each register may hold; `any` where that was said. */
  rtmrs: Readonly<Partial<Record<Rtmr, readonly string[] | "any">>>;
  /** Which states Intel may know the platform's TCB in; `UpToDate` unless said. */
  tcbStatuses: readonly TcbStatus[];
  /** The lowest number of Intel's TCB evaluation that is accepted; any unless said. */
  tcbEvaluationMin: number;
  /** Of the TDX module itself; any of Intel's unless said. */
  mrSeams: readonly string[] | null;
  /** What the operator says of the guest at its start; any unless said. */
  mrConfigIds: readonly string[] | null;
  mrOwners: readonly string[] | null;
  mrOwnerConfigs: readonly string[] | null;
}

/** What this one asks, beside a policy: bytes that the guest was to bind into this quote. */
export interface TdxExpectation {
  /** 64 bytes, such as a nonce and a key's hash. */
  reportData?: Uint8Array;
}

export type TdxPolicyReading = { ok: true; policy: TdxPolicy } | { ok: false; faults: string[] };

const REGISTER_BYTES = 48;
const VALUES_MAX = 256;

/** @param value What a policy file's member `tdx` holds. */
export function parseTdxPolicy(value: unknown): TdxPolicyReading {
  const from = openMembers("tdx", value);
  if (!from.ok) return from;
  const { faults, members } = from;
  const isStatus = (one: unknown): one is TcbStatus =>
    one !== "Revoked" && TCB_STATUSES.some((status) => status === one);
  const policy: TdxPolicy = {
    mrTds: members.hex("mrTds", REGISTER_BYTES) ?? [],
    rtmrs: parseRtmrs(members, faults),
    tcbStatuses: members.list("tcbStatuses", isStatus, "states of a TCB, and Revoked is none") ?? [
      "UpToDate",
    ],
    tcbEvaluationMin: members.count("tcbEvaluationMin") ?? 0,
    mrSeams: members.hex("mrSeams", REGISTER_BYTES),
    mrConfigIds: members.hex("mrConfigIds", REGISTER_BYTES),
    mrOwners: members.hex("mrOwners", REGISTER_BYTES),
    mrOwnerConfigs: members.hex("mrOwnerConfigs", REGISTER_BYTES),
  };
  members.refuseOthers();
  return faults.length === 0 ? { ok: true, policy } : { ok: false, faults };
}

function parseRtmrs(members: PolicyMembers, faults: string[]): TdxPolicy["rtmrs"] {
  const value = members.take("rtmrs");
  if (value === undefined) return {};
  const from = objectOf(value);
  if (from === null) {
    faults.push("tdx.rtmrs must be an object");
    return {};
  }
  const rtmrs: Partial<Record<Rtmr, readonly string[] | "any">> = {};
  for (const [name, given] of Object.entries(from)) {
    const rtmr = RTMRS.find((one) => one === name);
    const isHex = (one: unknown) => typeof one === "string" && fromHex(one)?.length === REGISTER_BYTES;
    const isList =
      Array.isArray(given) && given.length > 0 && given.length <= VALUES_MAX && given.every(isHex);
    if (rtmr === undefined) faults.push(`tdx.rtmrs.${printable(name)} is no register from 0 to 3`);
    else if (given === "any") rtmrs[rtmr] = "any";
    else if (isList) rtmrs[rtmr] = given.map((one: string) => one.toLowerCase());
    else faults.push(`tdx.rtmrs.${rtmr} must be "any" or a list of 96 hex digits each`);
  }
  return rtmrs;
}

type Judge = (facts: TdxFacts) => string;

const NO_POLICY: readonly Unasked[] = [
  {
    name: "mrtd",
    detail: "No policy says which firmware is expected, nor what it starts: this may be any guest.",
  },
];
const NO_REPORT_DATA: Unasked = {
  name: "report-data",
  detail: "Nobody said what the guest was to put into the quote: it may be an old one, shown again.",
};

/** The steps that a policy and an expectation add; without a policy, what is left open. */
export function tdxDemandsOf(policy: TdxPolicy | null, { reportData }: TdxExpectation = {}): TdxDemands {
  const judges = policy === null ? [] : judgesOf(policy);
  if (reportData !== undefined)
    judges.push([
      "report-data",
      ({ quote }) => {
        requireStep(
          hexOf(quote.reportData) === hexOf(reportData),
          "The report data is not what was expected: this quote was made for something else.",
        );
        return "The report data is what was expected.";
      },
    ]);
  const anys = RTMRS.filter((name) => policy?.rtmrs[name] === "any");
  return {
    judge: (facts) => judges.map(([name, judge]) => ({ name, judge: () => judge(facts) })),
    names: judges.map(([name]) => name),
    unasked: [
      ...(policy === null ? NO_POLICY : []),
      ...anys.map((name) => ({ name: `rtmr${name}`, detail: `The policy takes any value of RTMR ${name}.` })),
      ...(reportData === undefined ? [NO_REPORT_DATA] : []),
    ],
    tcbStatuses: policy?.tcbStatuses ?? ["UpToDate"],
  };
}

function judgesOf(policy: TdxPolicy): [string, Judge][] {
  const oneOf = (words: string, value: Uint8Array, accepted: readonly string[]) => {
    const none = `The policy names no ${words}, so none is accepted; this one is ${hexOf(value)}.`;
    requireStep(accepted.length > 0, none);
    requireStep(accepted.includes(hexOf(value)), `The ${words} ${hexOf(value)} is none of the policy's.`);
    return `The ${words} is one of the policy's.`;
  };
  const judges: [string, Judge][] = [["mrtd", ({ quote }) => oneOf("MRTD", quote.mrTd, policy.mrTds)]];
  for (const [index, name] of RTMRS.entries()) {
    const accepted = policy.rtmrs[name] ?? [];
    if (accepted !== "any")
      judges.push([`rtmr${name}`, ({ quote }) => oneOf(`RTMR ${name}`, quote.rtmrs[index]!, accepted)]);
  }
  judges.push([
    "tcb-evaluation",
    ({ evaluation }) => {
      requireStep(evaluation !== null, "TCB info or the quoting enclave's identity cannot be read.");
      const floor = policy.tcbEvaluationMin;
      requireStep(evaluation >= floor, `Intel's evaluation ${evaluation} is below the floor ${floor}.`);
      return `Intel's evaluation ${evaluation} is at least ${floor}.`;
    },
  ]);
  for (const [name, member, words, of] of [
    ["mrseam", "mrSeams", "TDX module", "mrSeam"],
    ["mrconfigid", "mrConfigIds", "MRCONFIGID", "mrConfigId"],
    ["mrowner", "mrOwners", "MROWNER", "mrOwner"],
    ["mrownerconfig", "mrOwnerConfigs", "MROWNERCONFIG", "mrOwnerConfig"],
  ] as const) {
    const accepted = policy[member];
    if (accepted !== null) judges.push([name, ({ quote }) => oneOf(words, quote[of], accepted)]);
  }
  return judges;
}
