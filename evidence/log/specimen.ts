// SPDX-License-Identifier: Apache-2.0
/** A log under a key made on the spot, for tests and measurements: whole, real, and nobody's. */
import { generateKeyPairSync, sign } from "node:crypto";
import { merkleRoot } from "../proofs/merkle.ts";
import { checkpointText } from "./checkpoint.ts";
import type { Inclusion } from "./inclusion.ts";
import { base64Of, ED25519, type NoteKey, signNote, writeNote, writeNoteKey } from "./note.ts";
import { consistencyPlan, foldRight, inclusionPlan, type ProofStep } from "./tree.ts";

export interface SpecimenLog {
  /** As C2SP writes keys of verifiers. */
  key: string;
  noteKey: NoteKey;
  checkpoint(entries: readonly Uint8Array[]): string;
  inclusion(entries: readonly Uint8Array[], index: number, from?: number): Inclusion;
}

export function makeLog(origin = "example.org/specimen"): SpecimenLog {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url");
  const noteKey: NoteKey = { name: origin, type: ED25519, raw };
  const checkpoint = (entries: readonly Uint8Array[]) => {
    const text = checkpointText({ origin, size: entries.length, root: merkleRoot(entries) });
    return writeNote({
      text,
      signatures: [signNote(text, noteKey, (message) => sign(null, message, privateKey))],
    });
  };
  const inclusion = (entries: readonly Uint8Array[], index: number, from?: number): Inclusion => {
    const size = entries.length;
    const rootOf = ({ level, position }: ProofStep[number]) =>
      merkleRoot(entries.slice(position * 2 ** level, (position + 1) * 2 ** level));
    const hashes = (plan: ProofStep[]) => plan.map((step) => base64Of(foldRight(step.map(rootOf))));
    return {
      ...{ origin, index, size, proof: hashes(inclusionPlan(index, size)), checkpoint: checkpoint(entries) },
      ...(from !== undefined && { consistency: { from, proof: hashes(consistencyPlan(from, size)) } }),
    };
  };
  return { key: writeNoteKey(noteKey), noteKey, checkpoint, inclusion };
}
