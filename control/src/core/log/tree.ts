// SPDX-License-Identifier: Apache-2.0
/**
 * Reading the log's tree out of the database: a leaf's hash is in its own row, and one root of every
 * 256, 256², … leaves beside it. Any proof is made of at most 256 of each, so it costs one statement
 * and what grows with the logarithm of the size.
 */
import { sql } from "kysely";
import { bundle, hashesOf, TILE_HASHES, type Tile } from "#evidence/log/tiles.ts";
import { foldRight, type ProofStep, type Subtree } from "#evidence/log/tree.ts";
import { Frontier } from "#evidence/proofs/merkle.ts";
import type { Db } from "../../database/open.ts";

interface Hashed {
  level: number;
  position: number;
  hash: Buffer;
}

/** The hash of every step. Throws for what the log does not have: a plan is made for a size that was signed. */
export async function readSteps(db: Db, plan: readonly ProofStep[]): Promise<Uint8Array[]> {
  const ranges = plan.flat().map(hashesOf);
  const held = new Map<string, Buffer>();
  for (const { level, position, hash } of await readHashes(db, ranges))
    held.set(`${level}/${position}`, hash);
  const rootOf = (subtree: Subtree) => {
    const { level, from, count } = hashesOf(subtree);
    const tree = new Frontier();
    for (let position = from; position < from + count; position++) {
      const hash = held.get(`${level}/${position}`);
      if (hash === undefined) throw new Error(`the log has no hash ${position} of level ${level}`);
      tree.add(hash);
    }
    return tree.root();
  };
  return plan.map((step) => foldRight(step.map(rootOf)));
}

async function readHashes(
  db: Db,
  ranges: { level: number; from: number; count: number }[],
): Promise<Hashed[]> {
  if (ranges.length === 0) return [];
  const levels = ranges.map(({ level }) => level);
  const lows = ranges.map(({ from }) => from);
  const highs = ranges.map(({ from, count }) => from + count);
  // No range is longer than a tile. Without the limits PostgreSQL read every node there is, once, for the few that it takes.
  const { rows } = await sql<Hashed>`
    with asked as (
      select * from unnest(${levels}::int[], ${lows}::bigint[], ${highs}::bigint[]) as asked (level, low, high)
    )
    select 0 as level, l.position, l.leaf_hash as hash
      from asked join lateral (
        select position, leaf_hash from proof_leaves where position >= low and position < high
        order by position limit ${TILE_HASHES}) l on asked.level = 0
    union all
    select asked.level, n.position, n.hash
      from asked join lateral (
        select position, hash from log_nodes where log_nodes.level = asked.level and position >= low and position < high
        order by position limit ${TILE_HASHES}) n on asked.level > 0`.execute(db);
  return rows;
}

/** The bytes of a tile that a signed tree has; null for one that has fewer hashes or entries than its width. */
export async function readTile(db: Db, { level, index, width }: Tile): Promise<Buffer | null> {
  const from = index * TILE_HASHES;
  if (level !== "entries") {
    const rows = await readHashes(db, [{ level, from, count: width }]);
    rows.sort((one, other) => one.position - other.position);
    return rows.length === width ? Buffer.concat(rows.map(({ hash }) => hash)) : null;
  }
  const { rows } = await sql<{ entry: Buffer }>`
    select entry from proof_leaves where position >= ${from} and position < ${from + width} order by position`.execute(
    db,
  );
  return rows.length === width ? Buffer.from(bundle(rows.map(({ entry }) => entry))) : null;
}
