// SPDX-License-Identifier: Apache-2.0
/**
 * Level 3: a proof is in the log that everybody sees. What came with the proof is only a way to
 * compute roots; the root that decides is the one the reader holds, saved before or given by somebody
 * the reader believes. An operator who shows one log to you and another to the world cannot show you
 * both in one chain of hashes.
 */
import { leafHash } from "../proofs/merkle.ts";
import type { Failure } from "../proofs/verdict.ts";
import { type Checkpoint, isOfLog, type OpenedCheckpoint, openCheckpoint, seenAt } from "./checkpoint.ts";
import type { NoteKey } from "./note.ts";
import { readHash } from "./tiles.ts";
import { extendsTree, includes } from "./tree.ts";

/** As `GET /v1/proofs/:id/transparency` answers it. Hashes are base64. */
export interface Inclusion {
  origin: string;
  /** Of the entry, from 0. */
  index: number;
  /** Entries of the tree in which it is shown. */
  size: number;
  proof: string[];
  /** A signed note over that tree. */
  checkpoint: string;
  /** That the tree of `from` entries is this one's beginning. */
  consistency?: { from: number; proof: string[] };
}

/** Why an entry is not shown in the log that the reader holds. */
export type InclusionFailure = Extract<
  Failure,
  | "inclusion_invalid"
  | "witness_missing"
  | "log_key_unknown"
  | "log_origin_mismatch"
  | "log_forked"
  | "consistency_missing"
  | "consistency_invalid"
>;

export interface LogTrust {
  /** The checkpoint that the reader holds. */
  held: OpenedCheckpoint;
  /** Keys of the log that the reader pinned; none: `held` alone decides. */
  keys?: readonly NoteKey[];
  /** Witnesses that the reader pinned; none: nobody but the log need have signed. */
  witnesses?: readonly NoteKey[];
}

export interface OpenedInclusion {
  index: number;
  proof: Uint8Array[];
  checkpoint: OpenedCheckpoint;
  consistency: { from: number; proof: Uint8Array[] } | null;
}

/** A tree of 2^53 entries is proved by 53 hashes. */
const PROOF_MAX = 64;

/** Null for what does not have the form, or says of its checkpoint what that does not say. */
export function openInclusion(value: unknown): OpenedInclusion | null {
  if (!isObject(value)) return null;
  const { origin, index, size, proof, checkpoint: note, consistency } = value as Partial<Inclusion>;
  const hashes = readHashes(proof);
  const checkpoint = typeof note === "string" ? openCheckpoint(note) : null;
  if (!isCount(index) || hashes === null || checkpoint === null) return null;
  if (checkpoint.origin !== origin || checkpoint.size !== size) return null;
  if (consistency === undefined || consistency === null)
    return { index, proof: hashes, checkpoint, consistency: null };
  const since = isObject(consistency) ? readHashes(consistency.proof) : null;
  if (since === null || !isCount(consistency.from)) return null;
  return { index, proof: hashes, checkpoint, consistency: { from: consistency.from, proof: since } };
}

/** What keeps the entry from being in the tree it is shown in; empty when it is there. */
export function checkIncluded(
  entry: Uint8Array,
  { index, proof, checkpoint }: OpenedInclusion,
): InclusionFailure[] {
  const leaf = leafHash(entry);
  return includes(leaf, index, checkpoint.size, proof, checkpoint.root) ? [] : ["inclusion_invalid"];
}

/** What keeps that tree from being the one the reader holds, or one that grew from it. */
export function checkHeld(shown: OpenedInclusion, trust: LogTrust): InclusionFailure[] {
  const { checkpoint, consistency } = shown;
  const { held, keys } = trust;
  const failures: InclusionFailure[] = [];
  if ((trust.witnesses?.length ?? 0) > 0 && witnessedAt(shown, trust) === null)
    failures.push("witness_missing");
  if (keys !== undefined && keys.length > 0 && !isOfLog(checkpoint, keys)) failures.push("log_key_unknown");
  if (checkpoint.origin !== held.origin) return [...failures, "log_origin_mismatch"];
  const fault = growth(held, checkpoint, consistency);
  return fault === null ? failures : [...failures, fault];
}

/** When a pinned witness had seen a tree with the proof in it: the latest such time, seconds since 1970; null when none has. */
export function witnessedAt(
  { checkpoint }: OpenedInclusion,
  { held, witnesses = [] }: LogTrust,
): number | null {
  const times = [checkpoint, ...(sameTree(checkpoint, held) ? [held] : [])].map((one) =>
    seenAt(one, witnesses),
  );
  return times.reduce(
    (latest, time) => (time === null || (latest !== null && latest > time) ? latest : time),
    null,
  );
}

/** A host that was cut off tells of an end when it is back; longer than this is worth a word. */
const LATE_S = 3600;

/**
 * True when a witness had seen the log without this proof, long after the time at which the proof says that it was
 * over: it was taken in late, or its date is older than it is. Only a witness's time tells; the log's own is its operator's.
 */
export function isLoggedLate(
  { index }: OpenedInclusion,
  { held, witnesses = [] }: LogTrust,
  destroyedAt: string,
): boolean {
  const seen = seenAt(held, witnesses);
  return seen !== null && index >= held.size && Date.parse(destroyedAt) / 1000 + LATE_S < seen;
}

const sameTree = (one: Checkpoint, other: Checkpoint) =>
  one.origin === other.origin && one.size === other.size && extendsTree(one, other, []);

function growth(
  held: Checkpoint,
  shown: Checkpoint,
  consistency: OpenedInclusion["consistency"],
): InclusionFailure | null {
  if (shown.size === held.size) return extendsTree(held, shown, []) ? null : "log_forked";
  // A proof in an older tree says nothing of the one the reader holds: ask for one in that (`?size=`).
  if (shown.size < held.size || consistency?.from !== held.size) return "consistency_missing";
  return extendsTree(held, shown, consistency.proof) ? null : "consistency_invalid";
}

function readHashes(value: unknown): Uint8Array[] | null {
  if (!Array.isArray(value) || value.length > PROOF_MAX) return null;
  const hashes = value.map(readHash);
  return hashes.every((hash) => hash !== null) ? hashes : null;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
