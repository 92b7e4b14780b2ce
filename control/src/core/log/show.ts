// SPDX-License-Identifier: Apache-2.0
/** What the log shows: its newest checkpoint, and where in it a proof is. */
import { sql } from "kysely";
import type { Inclusion } from "#evidence/log/inclusion.ts";
import { base64Of } from "#evidence/log/note.ts";
import { consistencyPlan, inclusionPlan } from "#evidence/log/tree.ts";
import type { Db } from "../../database/open.ts";
import { readSteps } from "./tree.ts";

interface SignedRow {
  size: number;
  /** With the lines of the witnesses that have signed it by now. */
  note: string;
}

const WITH_COSIGNATURES = sql`size, note || coalesce((
  select string_agg(line, '' order by at, witness) from log_cosignatures c
  where c.origin = p.origin and c.size = p.size), '') as note`;

/** Null before the first is signed. */
export async function newestCheckpoint(db: Db): Promise<SignedRow | null> {
  const { rows } = await sql<SignedRow>`
    select ${WITH_COSIGNATURES} from log_checkpoints p
    where origin = (select origin from log_head) order by size desc limit 1`.execute(db);
  return rows[0] ?? null;
}

/** Of the tree of exactly that size; null when none of that size was signed. */
export async function checkpointOf(db: Db, size: number): Promise<SignedRow | null> {
  const { rows } = await sql<SignedRow>`
    select ${WITH_COSIGNATURES} from log_checkpoints p
    where origin = (select origin from log_head) and size = ${size}`.execute(db);
  return rows[0] ?? null;
}

/**
 * The proof of a machine's end, or a guest image (SHA-256 of its metadata, hex), in a signed tree: of `size` entries, or the newest. With `from`, also
 * that the tree of `from` entries is that one's beginning. `pending`: no signed tree has it yet;
 * `unsigned`: there is no checkpoint of that size, or the entry came after it.
 */
export async function findInclusion(
  db: Db,
  of: { machine: string } | { image: string },
  { size, from }: { size?: number | undefined; from?: number | undefined },
): Promise<Inclusion | "pending" | "unsigned"> {
  const is = "machine" in of ? sql`machine_id = ${of.machine}` : sql`image_sha256 = ${of.image}`;
  const { rows } = await sql<{ position: number }>`select position from proof_leaves where ${is}`.execute(db);
  const index = rows[0]?.position;
  const signed = size === undefined ? await newestCheckpoint(db) : await checkpointOf(db, size);
  if (size !== undefined && (signed === null || (index !== undefined && index >= size))) return "unsigned";
  if (index === undefined || signed === null || index >= signed.size) return "pending";
  if (from !== undefined && from > signed.size) return "unsigned";
  const path = inclusionPlan(index, signed.size);
  const since = from === undefined ? [] : consistencyPlan(from, signed.size);
  const hashes = (await readSteps(db, [...path, ...since])).map(base64Of);
  return {
    origin: signed.note.slice(0, signed.note.indexOf("\n")),
    index,
    size: signed.size,
    proof: hashes.slice(0, path.length),
    checkpoint: signed.note,
    ...(from !== undefined && { consistency: { from, proof: hashes.slice(path.length) } }),
  };
}
