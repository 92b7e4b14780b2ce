// SPDX-License-Identifier: Apache-2.0
/**
 * Judges what was dropped, by the code that `casemate verify-proof` runs, and with its rules: the highest level that the
 * files allow is demanded, and what cannot be checked is said and never passes for a lower level quietly. The test
 * beside it holds the two together, file for file.
 */
import { type AuditOptions, judgeParsed } from "../evidence/auditproof/ladder.ts";
import { openManifest } from "../evidence/auditproof/manifest.ts";
import { type AuditVerdict, isAccepted } from "../evidence/auditproof/verdict.ts";
import { parseStrictJson } from "../evidence/proofs/strict-json.ts";
import { FAILURES, type ProofVerdict, WARNINGS } from "../evidence/proofs/verdict.ts";
import { examineProof } from "../evidence/proofs/verify.ts";
import { type Given, isMembers, type Members, own } from "./files.ts";
import { LATER, NOT_SHOWN, OUTCOMES, STAGES } from "./words.ts";

export interface Row {
  name: string;
  /** Its heading: level or stage. */
  group: string;
  status: "ok" | "failed" | "not checked";
  shows: string;
  not: string;
}

export interface Judgement {
  /** As the exit codes of `casemate verify-proof`: 0, 1, 3. */
  standing: "holds" | "fails" | "cannot be checked";
  headline: string;
  /** What is to be known before the rows are read. */
  notes: string[];
  failures: { code: string; sentence: string }[];
  warnings: { code: string; sentence: string }[];
  /** What the document says; only of one that is whole. */
  facts: [string, string][];
  rows: Row[];
  verdict: ProofVerdict | AuditVerdict | null;
}

const GROUPS = {
  1: "Level 1: the document is whole",
  2: "Level 2: who made it",
  3: "Level 3: it is in a log that everybody sees",
} as const;

/** @param pin What the reader was told of a trust chain: `sha256:` and 64 hex digits, or nothing. */
export function judge(given: Given, pin = ""): Judgement | null {
  if (given.proof === null) return null;
  const { bytes } = given.proof;
  const value = auditProofIn(bytes, given);
  if (value !== null) return judgeAuditProof(value.value, given, pin.trim());
  return judgeProof(bytes, given);
}

function judgeProof(bytes: Uint8Array, given: Given): Judgement {
  const { issuers, knownKeys, checkpoint, inclusion, logKeys } = given;
  const notes: string[] = [];
  const transparency =
    checkpoint !== null && inclusion !== null
      ? { inclusion: inclusion.value, trust: { held: checkpoint, keys: logKeys } }
      : null;
  if (transparency === null && (checkpoint !== null || inclusion !== null || logKeys.length > 0))
    notes.push(
      "Level 3 needs both a checkpoint that you hold and where the proof is in the log; it was not checked.",
    );
  if (issuers.length === 0 && knownKeys.size > 0)
    notes.push("A key document names no issuer that you pinned, so it was not used. Add the issuer's key.");
  const wanted = transparency !== null ? 3 : issuers.length > 0 ? 2 : 1;
  const possible = wanted > 1 && issuers.length === 0 ? 1 : wanted;
  const { verdict, done } = examineProof(bytes, {
    ...{ issuers, level: possible },
    ...(issuers.length > 0 && { knownKeys }),
    ...(transparency !== null && possible === 3 && { transparency }),
  });
  const rows = [
    ...done.filter(({ level }) => level <= possible),
    ...LATER.filter(({ name }) => unseen(name)),
  ].map(
    (check): Row => ({
      ...{ name: check.name, group: GROUPS[check.level], shows: check.shows },
      status: statusOf("passed" in check ? check.passed : null),
      not: NOT_SHOWN[check.name] ?? "",
    }),
  );
  function unseen(name: string) {
    return !done.some((check) => check.name === name && check.level <= possible);
  }
  const holds = verdict.valid && verdict.level >= possible;
  if (holds && possible < wanted)
    notes.push("A level is nothing without the one below it: add the issuer's key for level 2.");
  return {
    standing: !holds ? "fails" : possible < wanted ? "cannot be checked" : "holds",
    headline: headlineOf(verdict, holds, wanted, possible),
    ...{ notes, rows, verdict },
    failures: verdict.failures.map((code) => ({ code, sentence: FAILURES[code].sentence })),
    warnings: verdict.warnings.map((code) => ({ code, sentence: WARNINGS[code] })),
    facts: verdict.level > 0 ? factsOf(bytes, verdict) : [],
  };
}

/** A true proof of a destruction that failed is no good news, and must not be read as some. */
function headlineOf({ outcome }: ProofVerdict, holds: boolean, wanted: number, possible: number): string {
  if (!holds) return `The proof does not hold at level ${possible}.`;
  if (possible < wanted) return `Level ${wanted} cannot be checked without an issuer's key.`;
  const failed = outcome === "incomplete" ? ", and says that the destruction was not complete" : "";
  return `The proof holds at level ${possible}${failed}.`;
}

const statusOf = (passed: boolean | null): Row["status"] =>
  passed === null ? "not checked" : passed ? "ok" : "failed";

/** Members of a document that was found whole, so they have their form. */
function factsOf(bytes: Uint8Array, { outcome }: ProofVerdict): [string, string][] {
  const parsed = parseStrictJson(bytes);
  const document = parsed.ok ? inner(parsed.value) : null;
  if (!isMembers(document)) return [];
  const attestation = own(document, "attestation");
  const of = (name: string, value: unknown): [string, string][] =>
    typeof value === "string" ? [[name, value]] : [];
  return [
    ...of("Outcome", outcome === null ? undefined : OUTCOMES[outcome]),
    ...of("Session", own(document, "session_id")),
    ...of("Created", own(document, "created_at")),
    ...of("Destroyed", own(document, "destroyed_at")),
    ...of("Final hash", own(document, "final_hash")),
    ...of("Key", isMembers(attestation) ? own(attestation, "key_id") : undefined),
  ];
}

/** As the command line decides it: no profile, or something that only that format has. */
function auditProofIn(bytes: Uint8Array, { trustChain, policy }: Given): { value: unknown } | null {
  const parsed = parseStrictJson(bytes);
  const value = parsed.ok ? inner(parsed.value) : undefined;
  const asked = trustChain !== null || policy !== null;
  return asked || (isMembers(value) && !Object.hasOwn(value, "profile")) ? { value } : null;
}

function inner(value: unknown): unknown {
  const cdp = isMembers(value) && !Object.hasOwn(value, "cdp_version") ? own(value, "cdp") : undefined;
  return isMembers(cdp) ? cdp : value;
}

function judgeAuditProof(document: unknown, given: Given, pin: string): Judgement {
  const options = auditOptions(given, pin);
  if (typeof options === "string") {
    const rows = stageRows({ valid: false, stage_reached: 0, failure_reason: null });
    const headline = "The AuditProof was not judged.";
    return {
      ...{ standing: "cannot be checked", headline, notes: [options], rows, verdict: null },
      ...{ failures: [], warnings: [], facts: [] },
    };
  }
  const verdict = judgeParsed(document, options);
  const { valid, failure_reason } = verdict;
  const leftOut = given.issuers.length > 0 || given.checkpoint !== null || given.inclusion !== null;
  const notes = leftOut
    ? ["An AuditProof has stages and no levels: keys of issuers and of logs say nothing of it."]
    : [];
  const accepted = isAccepted(verdict);
  const { type = "", ...members } = failure_reason ?? {};
  const said = Object.entries(members).map(([name, member]) => `${name}: ${JSON.stringify(member)}`);
  return {
    standing: !valid ? "fails" : accepted && !leftOut ? "holds" : "cannot be checked",
    headline: !valid
      ? "The AuditProof does not hold."
      : accepted
        ? "The AuditProof holds: the holder of a key says so."
        : "The AuditProof is whole, and worth nothing: nobody signed it.",
    failures: failure_reason === null ? [] : [{ code: type, sentence: said.join(", ") }],
    ...{ notes, warnings: [], facts: [], rows: stageRows(verdict, failedStage(document, verdict)), verdict },
  };
}

/** Text: why the files do not allow a judgement. */
function auditOptions({ policy, trustChain }: Given, pin: string): AuditOptions | string {
  if (policy !== null) {
    // A misspelt demand that is passed over would accept what its writer wanted refused.
    const bad = Object.entries(policy.value).find(
      ([name, demand]) =>
        (name !== "required_region" && name !== "required_authority_id") || typeof demand !== "string",
    );
    if (bad !== undefined) return `Your demands hold ${bad[0]}, which is none that this format has.`;
  }
  const demands = policy === null ? {} : { policy: policy.value as Members & AuditOptions["policy"] & {} };
  if (trustChain === null) return demands;
  if (pin === "")
    return "A trust chain proves nothing by itself: type in the fingerprint that you have of it.";
  const manifest = openManifest(trustChain.value, pin);
  if (typeof manifest === "string") return `The trust chain cannot be trusted (${manifest}).`;
  return { ...demands, manifest };
}

/** The ladder stops at the first rung that does not hold: what is above it was not reached. */
function stageRows({ valid, stage_reached }: AuditVerdict, failed: number | null = null): Row[] {
  return STAGES.map(({ stage, name, shows, not }) => {
    const reached = valid ? stage <= stage_reached : failed !== null && stage < failed;
    const status = stage === failed ? "failed" : reached ? "ok" : "not checked";
    return { name, group: "The stages of an AuditProof", status, shows, not };
  });
}

/** The row that a verdict speaks against: the format counts in stages of its own. */
function failedStage(
  document: unknown,
  { valid, stage_reached, failure_reason }: AuditVerdict,
): number | null {
  if (valid) return null;
  if (failure_reason?.type === "algorithm_unsupported") return 7;
  if (stage_reached === 6) return 8;
  // The same words for the document's own key and for the trust chain's: without that, the former decides alone.
  if (stage_reached === 7 && judgeParsed(document).valid) return 8;
  return stage_reached;
}
