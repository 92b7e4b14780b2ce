// SPDX-License-Identifier: Apache-2.0
/**
 * One policy for all kinds of evidence: a part for each. A part that is missing is no permission: evidence of that
 * kind cannot be accepted under this policy, and whoever judges says so.
 */
import { objectOf, printable } from "./members.ts";
import { parseSnpPolicy, type SnpPolicy } from "./snp.ts";
import { parseTdxPolicy, type TdxPolicy } from "./tdx.ts";
import { parseTpmPolicy, type TpmPolicy } from "./tpm.ts";

export interface PolicyFile {
  snp: SnpPolicy | null;
  tdx: TdxPolicy | null;
  tpm: TpmPolicy | null;
}

export type PolicyFileReading = { ok: true; policy: PolicyFile } | { ok: false; faults: string[] };

/** @param value What the file holds, read as YAML or JSON. */
export function parsePolicyFile(value: unknown): PolicyFileReading {
  const from = objectOf(value);
  if (from === null) return { ok: false, faults: ["the policy must be an object"] };
  const faults: string[] = [];
  const take = <T>(
    name: string,
    parse: (part: unknown) => { ok: true; policy: T } | { ok: false; faults: string[] },
  ): T | null => {
    if (!Object.hasOwn(from, name)) return null;
    const reading = parse(from[name]);
    if (reading.ok) return reading.policy;
    faults.push(...reading.faults);
    return null;
  };
  const policy = {
    snp: take("snp", parseSnpPolicy),
    tdx: take("tdx", parseTdxPolicy),
    tpm: take("tpm", parseTpmPolicy),
  };
  for (const name of Object.keys(from))
    if (!Object.hasOwn(policy, name)) faults.push(`${printable(name)} is not known`);
  if (Object.keys(from).length === 0) faults.push("the policy has no part");
  return faults.length === 0 ? { ok: true, policy } : { ok: false, faults };
}
