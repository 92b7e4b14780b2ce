// SPDX-License-Identifier: Apache-2.0
/**
 * The body of `add-checkpoint` (C2SP tlog-witness, v1.0.0): the size that the log believes was witnessed
 * last, what proves that the new tree begins with that one, an empty line, and the checkpoint.
 *
 *     old <size>\n
 *     <hash>\n            base64, at most 63
 *     \n
 *     <checkpoint>
 */
import { type OpenedCheckpoint, openCheckpoint } from "#evidence/log/checkpoint.ts";
import { base64Of } from "#evidence/log/note.ts";
import { readHash } from "#evidence/log/tiles.ts";

/** Whole request, bytes: a checkpoint with many signatures, and 63 hashes. */
export const REQUEST_BYTES_MAX = 16 * 1024;
const PROOF_MAX = 63;

export interface AddCheckpoint {
  /** Entries of the tree that was witnessed last; 0 when none was. */
  old: number;
  proof: Uint8Array[];
  checkpoint: OpenedCheckpoint;
}

/** Null for what does not have the form. Sizes and hashes have one spelling each. */
export function readAddCheckpoint(body: Uint8Array): AddCheckpoint | null {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return null;
  }
  const cut = text.indexOf("\n\n");
  const [first, ...hashes] = text.slice(0, cut).split("\n");
  const [, size] = /^old (0|[1-9]\d{0,15})$/.exec(first ?? "") ?? [];
  if (cut < 0 || size === undefined || hashes.length > PROOF_MAX) return null;
  const proof = hashes.map(readHash);
  const checkpoint = openCheckpoint(text.slice(cut + 2));
  if (checkpoint === null || !proof.every((hash) => hash !== null)) return null;
  const old = Number(size);
  return Number.isSafeInteger(old) ? { old, proof, checkpoint } : null;
}

export function writeAddCheckpoint(old: number, proof: readonly Uint8Array[], note: string): string {
  return `old ${old}\n${proof.map((hash) => `${base64Of(hash)}\n`).join("")}\n${note}`;
}
