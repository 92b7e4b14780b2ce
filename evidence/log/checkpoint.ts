// SPDX-License-Identifier: Apache-2.0
/** A log's checkpoint (C2SP tlog-checkpoint): whose log, how many entries, and the root over them, as a signed note. */
import { fromBase64 } from "../proofs/encoding.ts";
import { base64Of, type Note, type NoteKey, readNote, signedBy } from "./note.ts";

export interface Checkpoint {
  /** The log's name: a URL without scheme, unique for all time. */
  origin: string;
  /** Entries. */
  size: number;
  /** 32 bytes. */
  root: Uint8Array;
}

/** The text that is signed. */
export function checkpointText({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${base64Of(root)}\n`;
}

/** Null for what is no checkpoint. Extension lines are allowed and not read. */
export function readCheckpointText(text: string): Checkpoint | null {
  const [origin, size, root, ...more] = text.split("\n");
  // What follows the last line feed is nothing; an extension line is never empty.
  if (more.pop() !== "" || more.includes("")) return null;
  if (!origin || !size || !root || !/^(0|[1-9]\d{0,15})$/.test(size)) return null;
  const count = Number(size);
  const hash = fromBase64(root);
  return Number.isSafeInteger(count) && hash?.length === 32 ? { origin, size: count, root: hash } : null;
}

export interface OpenedCheckpoint extends Checkpoint {
  note: Note;
}

/** The checkpoint in these bytes, whoever signed it; null for anything else. */
export function openCheckpoint(bytes: Uint8Array | string): OpenedCheckpoint | null {
  const note = readNote(bytes);
  const checkpoint = note === null ? null : readCheckpointText(note.text);
  return note === null || checkpoint === null ? null : { ...checkpoint, note };
}

/** True when one of the log's keys that the reader pinned signed it under the log's own name. */
export function isOfLog({ note, origin }: OpenedCheckpoint, keys: readonly NoteKey[]): boolean {
  return keys.some((key) => key.name === origin && signedBy(note, key) !== null);
}

/** The latest time at which one of these witnesses had seen it, in seconds since 1970; null when none has. */
export function seenAt({ note }: OpenedCheckpoint, witnesses: readonly NoteKey[]): number | null {
  const times = witnesses.map((witness) => signedBy(note, witness)?.atSeconds ?? null);
  return times.reduce(
    (latest, time) => (latest === null || (time !== null && time > latest) ? time : latest),
    null,
  );
}
