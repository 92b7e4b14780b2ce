// SPDX-License-Identifier: Apache-2.0
/**
 * What a verifier expects of a guest with a TPM: the registers that an honest boot comes to, which keys are known
 * to live in a TPM, who may vouch for one. The attacker runs another guest, or shows another's quote.
 *
 *  A. Fail closed: a policy without a value for each of the registers 4, 9, 11 and 12 refuses. The image
 *     is in 4 and 11, the command line and with it the root file system in 9 and 12.
 *  B. So does one that names no key: a quote signed by a key that nobody knows means nothing.
 *  C. The member set is closed: a mistyped member would be a demand that nobody makes.
 */
import { fromHex, hexOf } from "../bytes.ts";
import { requireStep, type Unasked } from "../steps.ts";
import { REQUIRED_PCRS } from "../tpm/expected.ts";
import type { TpmDemands, TpmFacts } from "../tpm/verify.ts";
import { objectOf, openMembers, type PolicyMembers, printable } from "./members.ts";

export interface TpmPolicy {
  /** Accepted values by register, 64 hex digits each. */
  pcrs: ReadonlyMap<number, readonly string[]>;
  /** Names of keys that were shown to live in a TPM, 68 hex digits each. */
  keys: readonly string[];
  /** SHA-256 of the public keys of roots that may vouch for an endorsement key; nobody asks unless said. */
  endorsementRoots: readonly string[] | null;
}

/** What this one asks, beside a policy. */
export interface TpmExpectation {
  /** What was to be bound into the quote, at most 64 bytes. */
  nonce?: Uint8Array;
  /** The name of a key that has just opened a credential, in hex. */
  keyName?: string;
}

export type TpmPolicyReading = { ok: true; policy: TpmPolicy } | { ok: false; faults: string[] };

const VALUES_MAX = 256;

/** @param value What a policy file's member `tpm` holds. */
export function parseTpmPolicy(value: unknown): TpmPolicyReading {
  const from = openMembers("tpm", value);
  if (!from.ok) return from;
  const { faults, members } = from;
  const policy: TpmPolicy = {
    pcrs: parsePcrs(members, faults),
    keys: members.hex("keys", 34) ?? [],
    endorsementRoots: members.hex("endorsementRoots", 32),
  };
  members.refuseOthers();
  return faults.length === 0 ? { ok: true, policy } : { ok: false, faults };
}

function parsePcrs(members: PolicyMembers, faults: string[]): TpmPolicy["pcrs"] {
  const pcrs = new Map<number, readonly string[]>();
  const value = members.take("pcrs");
  if (value === undefined) return pcrs;
  const from = objectOf(value);
  if (from === null) faults.push("tpm.pcrs must be an object");
  for (const [name, given] of Object.entries(from ?? {})) {
    const isHex = (one: unknown) => typeof one === "string" && fromHex(one)?.length === 32;
    const isList =
      Array.isArray(given) && given.length > 0 && given.length <= VALUES_MAX && given.every(isHex);
    if (!/^(\d|1\d|2[0-3])$/.test(name))
      faults.push(`tpm.pcrs.${printable(name)} is no register from 0 to 23`);
    else if (!isList) faults.push(`tpm.pcrs.${name} must be a list of 64 hex digits each`);
    else
      pcrs.set(
        Number(name),
        given.map((one: string) => one.toLowerCase()),
      );
  }
  return pcrs;
}

type Judge = (facts: TpmFacts) => string;

const NO_POLICY: readonly Unasked[] = [
  { name: "reference-pcrs", detail: "No policy says which registers are expected: this may be any guest." },
];
const NO_KEY: Unasked = {
  name: "key-known",
  detail: "Nobody said which key is known to live in a TPM: anyone may have made this one.",
};
const NO_NONCE: Unasked = {
  name: "nonce",
  detail: "Nobody said what was to be bound into the quote: it may be an old one, shown again.",
};

/** The steps that a policy and an expectation add; without a policy, what is left open. */
export function tpmDemandsOf(policy: TpmPolicy | null, { nonce, keyName }: TpmExpectation = {}): TpmDemands {
  const judges: [string, Judge][] = [];
  if (nonce !== undefined)
    judges.push([
      "nonce",
      ({ quote }) => {
        const same = hexOf(quote.extraData) === hexOf(nonce);
        requireStep(same, "The nonce is not what was expected: this quote was made for something else.");
        return "The nonce is what was expected.";
      },
    ]);
  const keys = [...(policy?.keys ?? []), ...(keyName === undefined ? [] : [keyName.toLowerCase()])];
  if (policy !== null || keyName !== undefined)
    judges.push([
      "key-known",
      ({ keyName: name }) => {
        requireStep(keys.length > 0, "The policy names no key, so none is accepted.");
        requireStep(name !== null && keys.includes(name), "The key is none that is known to live in a TPM.");
        return "The key is known to live in a TPM.";
      },
    ]);
  if (policy !== null) {
    const registers = new Set<number>([...REQUIRED_PCRS, ...policy.pcrs.keys()]);
    for (const pcr of [...registers].sort((a, b) => a - b))
      judges.push([
        `pcr${pcr}`,
        ({ pcrs, quote }) => {
          const accepted = policy.pcrs.get(pcr) ?? [];
          requireStep(
            accepted.length > 0,
            `The policy names no value of register ${pcr}, so none is accepted.`,
          );
          requireStep(quote.selection.includes(pcr), `The quote does not cover register ${pcr}.`);
          requireStep(pcrs !== null, "Could not be made: the registers are not the quote's.");
          const value = hexOf(pcrs.get(pcr)!);
          requireStep(accepted.includes(value), `Register ${pcr} is ${value}, none of the policy's.`);
          return `Register ${pcr} is one of the policy's.`;
        },
      ]);
  }
  return {
    judge: (facts) => judges.map(([name, judge]) => ({ name, judge: () => judge(facts) })),
    names: judges.map(([name]) => name),
    unasked: [
      ...(policy === null ? NO_POLICY : []),
      ...(policy === null && keyName === undefined ? [NO_KEY] : []),
      ...(nonce === undefined ? [NO_NONCE] : []),
    ],
    endorsementRoots: policy?.endorsementRoots ?? null,
  };
}
