// SPDX-License-Identifier: Apache-2.0
/**
 * Makes a destruction proof in two stages, because the key that signs lives in another process than
 * the one that measures: `composeProof` makes everything that is signed, `attestProof` adds the
 * signature and returns the bytes to store.
 *
 *  A. Outcome, failed steps, destroyed_at, step times and Merkle roots are derived here and cannot be
 *     passed in: whoever measures cannot also decide what the measurements mean.
 *  B. A step is `ok` only when its prober says so and its own numbers allow it.
 *  C. A step that failed still makes a proof, one that says so. There is no outcome without a proof.
 *  D. What `attestProof` returns verifies at level 1, or it throws: a broken signer must be found
 *     while the key still exists.
 */
import { contradicts } from "./claims.ts";
import type {
  AuditMeasured,
  Cdp,
  Certificate,
  CompletionMeasured,
  Context,
  Evidence,
  ForensicMeasured,
  IdentityMeasured,
  KeysMeasured,
  NamespaceMeasured,
  OverwriteMeasured,
  Skipped,
  StepRecord,
  TmpfsMeasured,
} from "./document.ts";
import { toBase64Text, utf8 } from "./encoding.ts";
import { digestText, GENESIS, hashOf, linkHash, probeRoot } from "./hash.ts";
import { STEPS } from "./steps.ts";
import { isWireTime, latest, wireTime } from "./time.ts";
import { verifyProof } from "./verify.ts";

/** What steps 7 and 8 bring themselves: their times and whether they went well. */
export type StepTiming = Omit<StepRecord<never>, "measured">;

export type MeasuredSteps = readonly [
  StepRecord<NamespaceMeasured>,
  StepRecord<TmpfsMeasured>,
  StepRecord<OverwriteMeasured>,
  StepRecord<KeysMeasured>,
  StepRecord<IdentityMeasured>,
  /** `probe_root` is computed here; a value given is ignored. */
  StepRecord<Omit<ForensicMeasured, "probe_root"> & Partial<Pick<ForensicMeasured, "probe_root">>>,
];

export interface ProofParts {
  context: Context;
  /** Steps 1 to 6 as measured. */
  steps: MeasuredSteps;
  /** The session's hash-chained event log: its head, `sha256:…`, and the number of events. */
  events: { head: string; count: number };
  /** Size of the transparency log when step 7 ran; null while there is none. */
  transparencyLogSize?: number | null;
  /** Step 7: reading and checking the event log. */
  seal: StepTiming;
  /** Step 8: what was left to do after it. */
  completion: StepTiming;
  /** What the session ended as if every step went well; any failed step makes it `expired_unclean`. */
  endState: "destroyed" | "expired";
  recovered: CompletionMeasured["recovered"];
}

export type UnsignedProof = Omit<Cdp, "attestation">;

export interface Attested {
  cdp: Cdp;
  /** The document's exact bytes: what is stored and served is this and nothing re-serialised. */
  bytes: Uint8Array;
}

type AnyRecord = StepTiming & { measured: unknown };

/** Stage one: evidence 1–8, the chain and the final hash. */
export function composeProof(parts: ProofParts): UnsignedProof {
  const { context } = parts;
  if (!isWireTime(context.created_at)) throw new TypeError("created_at is not a wire time");
  const recovered = parts.recovered !== null;
  const evidence: Evidence[number][] = [];
  const place = (record: AnyRecord) => {
    const placed = placeStep(evidence.length + 1, record, context, recovered);
    evidence.push(placed);
    return placed;
  };

  const [first, second, third, fourth, fifth, forensic] = parts.steps;
  for (const record of [first, second, third, fourth, fifth]) place(record);
  const { probes } = forensic.measured;
  place({ ...forensic, measured: { ...forensic.measured, probe_root: probeRoot(probes) } });
  const destroyedAt = latest(evidence.map(({ ended_at }) => ended_at));

  const audit: AuditMeasured = {
    event_head: parts.events.head,
    event_count: parts.events.count,
    evidence_hashes: evidence.map((one) => hashOf("cdp/1/evidence", one)),
    transparency_log_size: parts.transparencyLogSize ?? null,
  };
  place({ ...parts.seal, measured: audit });

  const failed = evidence.filter(({ ok }) => !ok).map(({ step }) => step as number);
  if (!parts.completion.ok) failed.push(8);
  const completion: CompletionMeasured = {
    end_state: failed.length === 0 ? parts.endState : "expired_unclean",
    destroyed_at: destroyedAt,
    outcome: failed.length === 0 ? "complete" : "incomplete",
    failed_steps: failed,
    step_ms: evidence.map(({ duration_ms }) => duration_ms),
    recovered: parts.recovered,
  };
  place({ ...parts.completion, measured: completion });

  const chain = chainOf(context, evidence);
  return {
    cdp_version: "1.0",
    profile: "casemate-cdp/1",
    session_id: context.session_id,
    created_at: context.created_at,
    destroyed_at: destroyedAt,
    context,
    evidence: evidence as unknown as Evidence,
    chain,
    final_hash: chain[7]!.chain_hash,
  };
}

function placeStep(step: number, record: AnyRecord, context: Context, recovered: boolean): Evidence[number] {
  const skipped: Skipped[] = [...record.skipped];
  // The wall clock may be set back during a teardown, and the host's may run behind the one that
  // wrote created_at. A proof is owed all the same; the times are lifted and the step says so.
  let started = wireTime(record.startedAt);
  let ended = wireTime(record.endedAt);
  if (started < context.created_at || ended < started) {
    if (started < context.created_at) started = context.created_at;
    if (ended < started) ended = started;
    skipped.push({
      name: "wall_clock",
      reason: "the clock was behind; times lifted to the earliest possible",
    });
  }
  const placed = {
    step,
    started_at: started,
    ended_at: ended,
    duration_ms: Math.max(0, Math.trunc(record.durationMs)),
    ok: record.ok,
    measured: record.measured,
    skipped,
  } as Evidence[number];
  if (placed.ok && contradicts(placed, context, recovered)) placed.ok = false;
  return placed;
}

function chainOf(context: Context, evidence: readonly Evidence[number][]): Cdp["chain"] {
  const contextHash = hashOf("cdp/1/context", context);
  let prev = GENESIS;
  return STEPS.map(({ step, subsystem, operation }, index) => {
    const evidenceHash = hashOf("cdp/1/evidence", evidence[index]!);
    prev = linkHash({
      prev,
      context_hash: contextHash,
      step,
      subsystem,
      operation,
      evidence_hash: evidenceHash,
    });
    return { step, subsystem, operation, evidence_hash: evidenceHash, chain_hash: prev };
  });
}

/** The bytes the session key signs: the hex digits of `final_hash` without their prefix, as the original does. */
export function signingMessage(finalHash: string): Uint8Array {
  if (!/^sha256:[0-9a-f]{64}$/.test(finalHash)) throw new TypeError("final_hash is not a SHA-256 text");
  return utf8(finalHash.slice("sha256:".length));
}

/** `public_key_sha256` of the context: over the 44 SPKI bytes. */
export function publicKeyDigest(spki: Uint8Array): string {
  return digestText(spki);
}

/** Stage two: signature and certificate. Throws when the result would not verify (D). */
export function attestProof(
  unsigned: UnsignedProof,
  signed: { publicKey: Uint8Array; signature: Uint8Array; certificate: Certificate },
): Attested {
  const cdp: Cdp = {
    ...unsigned,
    attestation: {
      algorithm: "Ed25519",
      public_key: toBase64Text(signed.publicKey),
      signature: toBase64Text(signed.signature),
      key_id: unsigned.context.key_id,
      certificate: signed.certificate,
    },
  };
  const bytes = utf8(JSON.stringify(cdp));
  const verdict = verifyProof(bytes, { level: 1 });
  if (!verdict.valid) {
    throw new TypeError(`the proof made does not verify: ${verdict.failures.join(", ")}`);
  }
  return { cdp, bytes };
}
