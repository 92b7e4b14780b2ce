// SPDX-License-Identifier: Apache-2.0
/**
 * Judges a destruction proof. Total: every input gets a verdict, none gets an exception.
 *
 *  A. Nothing is believed that was not recomputed: step names come from the table, hashes from the
 *     evidence, roots from their leaves.
 *  B. The member set is closed. What is not read is refused, so nothing unsigned can be shown as
 *     signed, and deleting a member never makes a document pass under weaker rules.
 *  C. Level 1 says that the document is whole. Who made it is level 2, and only a key pinned by the
 *     reader decides that.
 *  D. A level holds only on top of those below: a log full of rubbish is a log.
 *  E. The outcome is reported only when level 1 holds.
 */
import { isLoggedLate, type LogTrust, openInclusion } from "../log/inclusion.ts";
import { judgeAudit } from "./audit.ts";
import type { Issuer } from "./certificate.ts";
import { type Exam, LEVEL_1, LEVEL_2, LEVEL_3, type NamedCheck } from "./checks.ts";
import { judgeOriginal } from "./original.ts";
import { OpenProof, openProof } from "./reading.ts";
import { isCdp, shapeFaults } from "./shape.ts";
import { checksOf, type Failure, integrityHolds, type ProofVerdict, type Warning } from "./verdict.ts";

export interface VerifyOptions {
  /** Issuers pinned by the reader. */
  issuers?: readonly Issuer[];
  revokedKeyIds?: ReadonlySet<string> | readonly string[];
  /** What these certified is not believed, whenever they did. */
  revokedIssuerIds?: ReadonlySet<string> | readonly string[];
  /** Keys known from elsewhere: key id → `base64:` SPKI. A document naming one of them is held to it. */
  knownKeys?: ReadonlyMap<string, string>;
  /** The log the proof is to be found in, and what shows it there: as its log answers, not read yet. `byOperator`: the checkpoint held is the log's own. */
  transparency?: { inclusion: unknown; trust: LogTrust; byOperator?: true };
  /** 3 demands transparency as well as provenance, 2 provenance, 1 asks for integrity only; left out, provenance is demanded of documents that name an issuer or key known here. */
  level?: 1 | 2 | 3;
}

/** One check as done. `passed` is null when it was not reached. */
export interface CheckDone {
  name: string;
  /** What a pass of this check shows. */
  shows: string;
  level: 1 | 2 | 3;
  passed: boolean | null;
}

const FORM = { name: "form", shows: "every member is known, present and well formed", level: 1 } as const;

/** What little a document of the original's formats shows. */
const ORIGINAL = [
  { name: "chain", check: "chain_integrity", shows: "eight links over constants and one time" },
  { name: "final hash", check: "final_hash", shows: "final_hash is the last link" },
  { name: "signature", check: "signature", shows: "the document's key signed what its version has signed" },
] as const;

export interface Examination {
  verdict: ProofVerdict;
  done: CheckDone[];
}

/**
 * @param input The document: UTF-8 bytes or text (strictly parsed), a value, or what `openProof`
 *   returned; bare or in an envelope with a member `cdp`. A value has lost its duplicate keys
 *   already: pass bytes whenever they are at hand.
 * @example verifyProof(await readFile("proof.json"), { issuers: [{ issuerId, publicKey }] }).valid
 */
export function verifyProof(input: unknown, options: VerifyOptions = {}): ProofVerdict {
  return examineProof(input, options).verdict;
}

/** As `verifyProof`, with the list of checks for a reader who wants to see them. */
export function examineProof(input: unknown, options: VerifyOptions = {}): Examination {
  const opened = input instanceof OpenProof ? input : openProof(input);
  const { document } = opened;
  if (opened.failure !== null) return refused([opened.failure], document);
  if (opened.kind !== "casemate-cdp/1") {
    const audit = opened.kind === "auditproof" ? judgeAudit(document) : null;
    const { failures, warnings } = audit ?? judgeOriginal(document);
    if ((options.level ?? 1) >= 2) failures.push("certificate_missing");
    const verdict = conclude(new Set(failures), warnings, document);
    Object.assign(verdict.checks, audit?.passed);
    const done = ORIGINAL.map(({ check, ...rest }) => ({
      ...rest,
      level: 1 as const,
      passed: verdict.checks[check],
    }));
    return { verdict, done };
  }
  if (!isCdp(document)) return refused(shapeFaults(document), document);

  const exam: Exam = { cdp: document, failures: new Set(), warnings: new Set() };
  const done: CheckDone[] = [{ ...FORM, passed: true }];
  for (const check of LEVEL_1) done.push(run(check, exam, 1));
  const whole = integrityHolds(exam.failures);
  const { key_id, certificate } = document.attestation;
  const issuers = options.issuers ?? [];
  const isRevoked =
    new Set(options.revokedKeyIds ?? []).has(key_id) ||
    new Set(options.revokedIssuerIds ?? []).has(certificate.issuer_id);
  const knownKeys = options.knownKeys ?? new Map<string, string>();
  const named =
    issuers.some(({ issuerId }) => issuerId === certificate.issuer_id) || knownKeys.has(key_id) || isRevoked;
  const demanded = (options.level ?? 1) >= 2 || (options.level === undefined && named);
  const stated = document.evidence[7].measured.outcome;
  let provenance = false;
  if (whole && (demanded || (named && options.level !== 1))) {
    const before = exam.failures.size;
    for (const check of LEVEL_2) done.push(run(check, { ...exam, issuers, isRevoked, knownKeys }, 2));
    provenance = exam.failures.size === before;
  } else {
    done.push(...LEVEL_2.map(notReached(2)));
    if (whole) exam.warnings.add("origin_unknown");
  }
  const transparent = whole && lookUp(exam, options, done);
  const held = { provenance, transparent: provenance && transparent };
  return { verdict: conclude(exam.failures, [...exam.warnings], document, held, stated), done };
}

/** Level 3, where it was asked for or something was given to do it with. True when it holds by itself. */
function lookUp(exam: Exam, { transparency, level }: VerifyOptions, done: CheckDone[]): boolean {
  if (transparency === undefined) {
    if (level === 3) exam.failures.add("inclusion_missing");
    return false;
  }
  const inclusion = openInclusion(transparency.inclusion);
  if (inclusion === null) {
    exam.failures.add("inclusion_malformed");
    done.push(...LEVEL_3.map(notReached(3)));
    return false;
  }
  if (transparency.byOperator) exam.warnings.add("log_not_independent");
  const before = exam.failures.size;
  for (const check of LEVEL_3) done.push(run(check, { ...exam, inclusion, trust: transparency.trust }, 3));
  if (isLoggedLate(inclusion, transparency.trust, exam.cdp.destroyed_at)) exam.warnings.add("logged_late");
  return exam.failures.size === before;
}

function run<E extends Exam>(check: NamedCheck<E>, exam: E, level: CheckDone["level"]): CheckDone {
  const found = check.find(exam);
  for (const failure of found) exam.failures.add(failure);
  return { name: check.name, shows: check.shows, level, passed: found.length === 0 };
}

const notReached =
  (level: CheckDone["level"]) =>
  ({ name, shows }: { name: string; shows: string }): CheckDone => ({ name, shows, level, passed: null });

/** The document could not be read as anything this verifier judges. */
function refused(failures: Failure[], document: Record<string, unknown>): Examination {
  return {
    verdict: conclude(new Set(failures), [], document),
    done: [{ ...FORM, passed: false }, ...LEVEL_1.map(notReached(1)), ...LEVEL_2.map(notReached(2))],
  };
}

function conclude(
  failures: ReadonlySet<Failure>,
  warnings: Warning[],
  document: Record<string, unknown>,
  { provenance, transparent } = { provenance: false, transparent: false },
  outcome: ProofVerdict["outcome"] = null,
): ProofVerdict {
  const whole = integrityHolds(failures);
  const chain = Object.hasOwn(document, "chain") ? document.chain : null;
  const profile = Object.hasOwn(document, "profile") ? document.profile : null;
  return {
    valid: failures.size === 0,
    level: !whole ? 0 : transparent ? 3 : provenance ? 2 : 1,
    outcome: whole ? outcome : null,
    profile: typeof profile === "string" ? profile : null,
    checks: checksOf(failures, Array.isArray(chain) ? chain.length : 0),
    warnings: whole ? warnings : [],
    failures: [...failures],
  };
}
