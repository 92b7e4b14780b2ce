// SPDX-License-Identifier: Apache-2.0
/**
 * Keeping proofs. A proof is stored as the bytes that were signed, once per machine (unique), with its
 * key, its salt sealed for the owner, and its leaf of the transparency log, all in the transaction
 * that ends the machine: no end without a proof, no proof without a leaf.
 */
import { createHash } from "node:crypto";
import canonicalize from "canonicalize";
import { sql } from "kysely";
import type { Cdp } from "#evidence/proofs/document.ts";
import type { Tx } from "../../database/open.ts";

export interface ProofToKeep {
  machineId: string;
  subjectId: string;
  accountId: string;
  /** The CDP's exact text. */
  document: string;
  saltSealed: Buffer;
  outcome: string;
}

export async function keepProof(tx: Tx, proof: ProofToKeep): Promise<void> {
  const cdp = JSON.parse(proof.document) as Cdp;
  const { key_id, public_key, certificate } = cdp.attestation;
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto("proofs")
    .values({
      machine_id: proof.machineId,
      subject_id: proof.subjectId,
      account_id: proof.accountId,
      document: Buffer.from(proof.document),
      salt_sealed: proof.saltSealed,
      outcome: proof.outcome,
      key_id,
    })
    .onConflict((conflict) => conflict.column("machine_id").doNothing())
    .executeTakeFirstOrThrow();
  if (numInsertedOrUpdatedRows !== 1n) return;
  await tx
    .insertInto("proof_keys")
    .values({
      key_id,
      public_key,
      certificate: JSON.stringify(certificate),
      created_at: new Date(certificate.not_before),
    })
    .execute();
  await appendLeaf(tx, proof.machineId, leafEntry(cdp));
}

/** What the transparency log commits to: the proof and its key, not who owned the session. */
export function leafEntry(cdp: Cdp): Buffer {
  const { key_id, public_key, certificate } = cdp.attestation;
  const sessionHash = `sha256:${createHash("sha256").update(cdp.session_id).digest("hex")}`;
  const entry = {
    key_id,
    public_key,
    session_id_hash: sessionHash,
    final_hash: cdp.final_hash,
    cert_sig: certificate.sig,
  };
  return Buffer.from(canonicalize(entry)!);
}

/** RFC 6962 leaf hash. The counter's row lock makes positions gap free in commit order. */
async function appendLeaf(tx: Tx, machineId: string, entry: Buffer): Promise<void> {
  const leafHash = createHash("sha256").update(Buffer.of(0)).update(entry).digest();
  await sql`
    with place as (update proof_log set size = size + 1 returning size - 1 as position)
    insert into proof_leaves (position, machine_id, entry, leaf_hash)
    select position, ${machineId}, ${entry}, ${leafHash} from place`.execute(tx);
}
