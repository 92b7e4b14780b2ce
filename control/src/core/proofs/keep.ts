// SPDX-License-Identifier: Apache-2.0
/**
 * Keeping proofs. A proof is stored as the bytes that were signed, once per machine (unique), with its
 * key, its salt sealed for the owner, and its leaf of the transparency log, all in the statement
 * that ends the machine: no end without a proof, no proof without a leaf.
 */
import { createHash } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import { proofEntry } from "#evidence/log/entry.ts";
import type { Cdp } from "#evidence/proofs/document.ts";

export interface ProofToKeep {
  /** The CDP's exact text, and the same parsed. */
  document: string;
  cdp: Cdp;
  saltSealed: Buffer;
  outcome: string;
}

/**
 * Clauses for a statement whose clause `subject` (id, machine_id, account_id) is what the proof is
 * about, or is empty. A proof of something else is not kept, whatever its host says.
 */
export function keepProofClauses({ document, cdp, saltSealed, outcome }: ProofToKeep): RawBuilder<unknown> {
  const { key_id, public_key, certificate } = cdp.attestation;
  const entry = Buffer.from(proofEntry(cdp));
  // RFC 6962 leaf hash. The counter's row lock makes positions gap free in commit order.
  const leafHash = createHash("sha256").update(Buffer.of(0)).update(entry).digest();
  return sql`
    proof as (
      insert into proofs (machine_id, subject_id, account_id, document, salt_sealed, outcome, key_id)
      select machine_id, id, account_id, ${Buffer.from(document)}, ${saltSealed}, ${outcome}, ${key_id}
      from subject where id = ${cdp.session_id}
      on conflict (machine_id) do nothing
      returning machine_id
    ), proof_key as (
      insert into proof_keys (key_id, public_key, certificate, created_at)
      select ${key_id}, ${public_key}, ${JSON.stringify(certificate)}::jsonb, ${new Date(certificate.not_before)}
      from proof
    ), place as (
      update proof_log set size = size + 1 where exists (select from proof) returning size - 1 as position
    ), leaf as (
      insert into proof_leaves (position, machine_id, entry, leaf_hash)
      select place.position, proof.machine_id, ${entry}, ${leafHash} from place, proof
    )`;
}
