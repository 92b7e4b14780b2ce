// SPDX-License-Identifier: Apache-2.0
/**
 * `casemate verify-proof` of a document of the AuditProof format: the verdict of that format, in its own
 * words, so that it can be compared with what other verifiers print. Its exit codes are that format's
 * too: 0 from stage 7 on, where a key has spoken, 3 for a document that is whole and that nobody signed.
 */

import { type AuditOptions, type AuditPolicy, judgeParsed } from "#evidence/auditproof/ladder.ts";
import { openManifest } from "#evidence/auditproof/manifest.ts";
import { type AuditVerdict, isAccepted } from "#evidence/auditproof/verdict.ts";
import { isMembers, unwrap } from "#evidence/proofs/reading.ts";
import { parseStrictJson } from "#evidence/proofs/strict-json.ts";
import { UsageFault } from "./usage.ts";

export interface AuditFiles {
  policyFile: string | undefined;
  trustChainFile: string | undefined;
  /** `sha256:` and 64 hex characters. */
  pin: string | undefined;
  activityFile: string | undefined;
}

type Reader = (file: string) => Promise<Uint8Array>;

/**
 * The AuditProof in these bytes, bare or as `cdp` in the answer to a session's end; null for a document of ours, which
 * names a profile. With an option of that format given, whatever it is is judged as one.
 */
export function auditProofOf(bytes: Uint8Array, files: AuditFiles): { value: unknown } | null {
  const parsed = parseStrictJson(bytes);
  const outer = parsed.ok ? parsed.value : undefined;
  const value = isMembers(outer) ? unwrap(outer) : outer;
  const asked = Object.values(files).some((given) => given !== undefined);
  return asked || (isMembers(value) && !Object.hasOwn(value, "profile")) ? { value } : null;
}

export async function auditOptionsOf(files: AuditFiles, read: Reader): Promise<AuditOptions> {
  const { policyFile, trustChainFile, pin, activityFile } = files;
  if ((trustChainFile === undefined) !== (pin === undefined))
    throw new UsageFault("--trust-chain and --pin go together: a manifest proves nothing without the pin.");
  return {
    ...(policyFile !== undefined && { policy: policyOf(await jsonOf(policyFile, read), policyFile) }),
    ...(activityFile !== undefined && { activityFile: await read(activityFile) }),
    ...(trustChainFile !== undefined && {
      manifest: manifestOf(await jsonOf(trustChainFile, read), pin!, trustChainFile),
    }),
  };
}

async function jsonOf(file: string, read: Reader): Promise<unknown> {
  const parsed = parseStrictJson(await read(file));
  if (!parsed.ok) throw new UsageFault(`${file} is not usable JSON (${parsed.code}).`);
  return parsed.value;
}

/** A misspelt demand that is passed over would accept what its writer wanted refused. */
function policyOf(value: unknown, file: string): AuditPolicy {
  const known = ["required_region", "required_authority_id"];
  const inner = isMembers(value) && isMembers(value.policy) ? value.policy : value;
  if (!isMembers(inner)) throw new UsageFault(`${file} holds no policy.`);
  for (const [name, demand] of Object.entries(inner)) {
    if (!known.includes(name))
      throw new UsageFault(`${file}: a policy has ${known.join(" and ")}, not ${name}.`);
    if (typeof demand !== "string") throw new UsageFault(`${file}: ${name} is no text.`);
  }
  return inner;
}

function manifestOf(value: unknown, pin: string, file: string) {
  const manifest = openManifest(value, pin);
  if (typeof manifest === "string")
    throw new UsageFault(`${file} cannot be trusted as a trust chain (${manifest}).`);
  return manifest;
}

const STAGES: Record<number, string> = {
  1: "it is no document of the format",
  2: "its version, its reserved members or your policy",
  3: "the chain of eight steps, or a structure with a root of its own",
  4: "it is whole, and nobody signed it",
  6: "the trust chain has the key that is named",
  7: "the key in the document signed it; whose key that is, nothing here says",
  8: "a key of the trust chain that you pinned signed it",
};

/** Prints the verdict and returns the exit code. */
export function judged(
  document: unknown,
  options: AuditOptions,
  json: boolean,
  out: (text: string) => void,
): 0 | 1 | 3 {
  const verdict = judgeParsed(document, options);
  out(json ? `${JSON.stringify(verdict)}\n` : describe(verdict));
  if (!verdict.valid) return 1;
  return isAccepted(verdict) ? 0 : 3;
}

function describe({ valid, stage_reached, failure_reason }: AuditVerdict): string {
  const stage = `stage ${stage_reached}: ${STAGES[stage_reached] ?? ""}\n`;
  if (failure_reason === null) return `ok   ${stage}${valid && stage_reached < 7 ? NOT_SIGNED : HOLDS}`;
  const { type, ...members } = failure_reason;
  const said = Object.entries(members).map(([name, value]) => `  ${name}: ${JSON.stringify(value)}\n`);
  return `FAIL ${stage}failure: ${type}\n${said.join("")}The AuditProof does not hold.\n`;
}

const HOLDS =
  "The AuditProof holds. What was measured is not in this format: it shows that a key's holder says so.\n";
const NOT_SIGNED = "The AuditProof is whole, and worth nothing: anybody can write one that nobody signs.\n";
