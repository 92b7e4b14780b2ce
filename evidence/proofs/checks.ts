// SPDX-License-Identifier: Apache-2.0
/**
 * The checks of a document whose form is right, in the order in which they are made and shown. Each
 * returns what it found wrong; none stops the others, so that a reader sees everything at once.
 */
import { proofEntry } from "../log/entry.ts";
import { checkHeld, checkIncluded, type LogTrust, type OpenedInclusion } from "../log/inclusion.ts";
import { checkCertificate, type Issuer } from "./certificate.ts";
import { contradicts } from "./claims.ts";
import type { Cdp } from "./document.ts";
import { utf8 } from "./encoding.ts";
import { digestText, GENESIS, hashOf, linkHash, probeRoot } from "./hash.ts";
import { readPublicKey, readSignature, signatureHolds } from "./keys.ts";
import { STEPS } from "./steps.ts";
import { isWireTime, latest } from "./time.ts";
import type { Failure, Warning } from "./verdict.ts";

export interface Exam {
  cdp: Cdp;
  failures: Set<Failure>;
  warnings: Set<Warning>;
}

export interface ProvenanceExam extends Exam {
  issuers: readonly Issuer[];
  isRevoked: boolean;
  knownKeys: ReadonlyMap<string, string>;
}

export interface NamedCheck<E extends Exam = Exam> {
  name: string;
  shows: string;
  find(exam: E): Failure[];
}

export const LEVEL_1: readonly NamedCheck[] = [
  {
    name: "twins",
    shows: "what stands beside the signed members says the same",
    find: ({ cdp }) => twins(cdp),
  },
  {
    name: "chain",
    shows: "context, evidence and the eight links hash to the final hash",
    find: ({ cdp }) => chain(cdp),
  },
  { name: "signature", shows: "the session's key signed the final hash", find: ({ cdp }) => signature(cdp) },
  { name: "seal", shows: "step 7 sealed the evidence of steps 1 to 6", find: ({ cdp }) => seal(cdp) },
  {
    name: "times",
    shows: "every time exists and none lies before what it must follow",
    find: ({ cdp }) => times(cdp),
  },
  {
    name: "claims",
    shows: "no step claims success against its own measurement",
    find: ({ cdp }) => claims(cdp),
  },
  { name: "outcome", shows: "the stated outcome is the one the steps add up to", find: outcome },
];

export const LEVEL_2: readonly NamedCheck<ProvenanceExam>[] = [
  {
    name: "certificate",
    shows: "a pinned issuer certified this key for this session and time",
    find: certificate,
  },
  {
    name: "revocation",
    shows: "the key is the one known by its id, and neither it nor its issuer has been revoked",
    find: revocation,
  },
];

export interface TransparencyExam extends Exam {
  inclusion: OpenedInclusion;
  trust: LogTrust;
}

export const LEVEL_3: readonly NamedCheck<TransparencyExam>[] = [
  {
    name: "inclusion",
    shows: "the proof is an entry of the log that it came with",
    find: ({ cdp, inclusion }) => checkIncluded(proofEntry(cdp), inclusion),
  },
  {
    name: "log",
    shows: "that log is, or grew from, the one of which you hold a checkpoint",
    find: ({ inclusion, trust }) => checkHeld(inclusion, trust),
  },
];

function twins({ context, attestation, ...cdp }: Cdp): Failure[] {
  const failures: Failure[] = [];
  if (
    cdp.cdp_version !== context.cdp_version ||
    cdp.profile !== context.profile ||
    cdp.session_id !== context.session_id ||
    cdp.created_at !== context.created_at ||
    cdp.destroyed_at !== cdp.evidence[7].measured.destroyed_at ||
    attestation.key_id !== context.key_id
  ) {
    failures.push("twin_mismatch");
  }
  const named = /^nrx-verify-(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z-([0-9a-f]{8})$/.exec(
    context.key_id,
  );
  const [, year, month, day, hour, minute, second, session] = named ?? [];
  if (
    session !== context.session_id.slice(5, 13) ||
    !isWireTime(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  ) {
    failures.push("key_id_malformed");
  }
  return failures;
}

/** Everything is recomputed from the table, the context and the evidence; the document's hashes are only compared. */
function chain(cdp: Cdp): Failure[] {
  const failures = new Set<Failure>();
  const contextHash = hashOf("cdp/1/context", cdp.context);
  let prev = GENESIS;
  for (const [index, { step, subsystem, operation }] of STEPS.entries()) {
    const item = cdp.chain[index]!;
    if (item.step !== step || item.subsystem !== subsystem || item.operation !== operation) {
      failures.add("step_identity");
    }
    const evidenceHash = hashOf("cdp/1/evidence", cdp.evidence[index]!);
    if (item.evidence_hash !== evidenceHash) failures.add("evidence_hash_mismatch");
    prev = linkHash({
      prev,
      context_hash: contextHash,
      step,
      subsystem,
      operation,
      evidence_hash: evidenceHash,
    });
    if (item.chain_hash !== prev) failures.add("chain_hash_mismatch");
  }
  if (cdp.final_hash !== prev) failures.add("final_hash_mismatch");
  return [...failures];
}

function signature({ attestation, context, final_hash }: Cdp): Failure[] {
  const key = readPublicKey(attestation.public_key);
  if (key === "malformed") return ["public_key_malformed"];
  if (key === "weak") return ["public_key_weak"];
  const failures: Failure[] = [];
  if (digestText(key) !== context.public_key_sha256) failures.push("public_key_mismatch");
  const signed = readSignature(attestation.signature);
  if (signed === "malformed") failures.push("signature_malformed");
  else if (signed === "weak") failures.push("signature_weak");
  else if (!signatureHolds(key, utf8(final_hash.slice("sha256:".length)), signed)) {
    failures.push("signature_invalid");
  }
  return failures;
}

/** By the chain's own hashes: those are compared with the evidence in `chain`. */
function seal(cdp: Cdp): Failure[] {
  const sealed = cdp.evidence[6].measured.evidence_hashes;
  const differs = sealed.some((hash, index) => hash !== cdp.chain[index]!.evidence_hash);
  return differs ? ["sealed_hashes_mismatch"] : [];
}

function times(cdp: Cdp): Failure[] {
  const failures: Failure[] = [];
  // Wire times have one width, so their order as text is their order in time.
  const inOrder = cdp.evidence.every(
    ({ started_at, ended_at }) =>
      isWireTime(started_at) &&
      isWireTime(ended_at) &&
      cdp.created_at <= started_at &&
      started_at <= ended_at,
  );
  if (!inOrder || !isWireTime(cdp.created_at)) failures.push("time_invalid");
  const lastProbe = latest(cdp.evidence.slice(0, 6).map(({ ended_at }) => ended_at));
  if (cdp.destroyed_at !== lastProbe) failures.push("destroyed_at_mismatch");
  return failures;
}

function claims(cdp: Cdp): Failure[] {
  const failures: Failure[] = [];
  const recovered = cdp.evidence[7].measured.recovered !== null;
  const contradicted = cdp.evidence.some((one) => one.ok && contradicts(one, cdp.context, recovered));
  if (contradicted) failures.push("contradiction");
  const { probes, probe_root } = cdp.evidence[5].measured;
  if (probeRoot(probes) !== probe_root) failures.push("probe_root_mismatch");
  return failures;
}

function outcome({ cdp, warnings }: Exam): Failure[] {
  const stated = cdp.evidence[7].measured;
  const failed = cdp.evidence.filter(({ ok }) => !ok).map(({ step }) => step as number);
  if (failed.length > 0) warnings.add("outcome_incomplete");
  if (stated.recovered !== null) warnings.add("recovered");
  for (const limit of ["overwrite_not_claimed", "start_facts_lost"] as const) {
    if (cdp.context.limits.includes(limit)) warnings.add(limit);
  }
  const consistent =
    stated.outcome === (failed.length === 0 ? "complete" : "incomplete") &&
    (stated.end_state === "expired_unclean") === failed.length > 0 &&
    stated.failed_steps.length === failed.length &&
    stated.failed_steps.every((step, index) => step === failed[index]) &&
    stated.step_ms.every((ms, index) => ms === cdp.evidence[index]!.duration_ms);
  return consistent ? [] : ["outcome_mismatch"];
}

function certificate({ cdp, issuers }: ProvenanceExam): Failure[] {
  const { attestation, session_id, destroyed_at } = cdp;
  return checkCertificate(
    attestation.certificate,
    {
      publicKey: attestation.public_key,
      keyId: attestation.key_id,
      sessionId: session_id,
      destroyedAt: destroyed_at,
    },
    issuers,
  );
}

/** An attacker who reuses a known key id with a key of his own is caught here, whoever issued his certificate. */
function revocation({ cdp, isRevoked, knownKeys }: ProvenanceExam): Failure[] {
  const failures: Failure[] = [];
  const { key_id, public_key } = cdp.attestation;
  const known = knownKeys.get(key_id);
  if (known !== undefined && known !== public_key) failures.push("known_key_mismatch");
  if (isRevoked) failures.push("key_revoked");
  return failures;
}
