// SPDX-License-Identifier: Apache-2.0
/**
 * That a log only grew since somebody saved a checkpoint of it: computed from the tiles it publishes, so
 * nothing but static files is asked for, and each is believed only as far as both roots hold it.
 */
import { nodeHash } from "../proofs/merkle.ts";
import { isOfLog, type OpenedCheckpoint } from "./checkpoint.ts";
import type { NoteKey } from "./note.ts";
import { countAt, HASH_BYTES, hashesOf, TILE_HASHES, tilePath } from "./tiles.ts";
import { consistencyPlan, extendsTree, foldRight, type ProofStep, type Subtree } from "./tree.ts";

/** The file below the log's folder or URL; null when it is not there. */
export type ReadTile = (path: string) => Promise<Uint8Array | null>;

export type GrowthFailure =
  | "log_origin_mismatch"
  | "log_key_unknown"
  /** It is shorter than it was: entries were taken out, or an old copy is shown. */
  | "log_behind"
  | "log_forked"
  | "consistency_invalid";

/** The tiles do not say it: a file is not there or not as long as its name says. Nothing follows from that. */
export class TileFault extends Error {}

/** What keeps `newest` from having grown from `held`; null when it has. Throws a TileFault. */
export async function checkGrowth(
  held: OpenedCheckpoint,
  newest: OpenedCheckpoint,
  readTile: ReadTile,
  keys: readonly NoteKey[] = [],
): Promise<GrowthFailure | null> {
  if (held.origin !== newest.origin) return "log_origin_mismatch";
  if (keys.length > 0 && !isOfLog(newest, keys)) return "log_key_unknown";
  if (newest.size < held.size) return "log_behind";
  if (newest.size === held.size) return extendsTree(held, newest, []) ? null : "log_forked";
  const hashes = await readSteps(consistencyPlan(held.size, newest.size), newest.size, readTile);
  return extendsTree(held, newest, hashes) ? null : "consistency_invalid";
}

async function readSteps(steps: ProofStep[], size: number, readTile: ReadTile): Promise<Uint8Array[]> {
  const tiles = new Map<string, Promise<Uint8Array>>();
  const hashes: Uint8Array[] = [];
  for (const step of steps) {
    const roots: Uint8Array[] = [];
    for (const subtree of step) roots.push(await readSubtree(subtree, size, readTile, tiles));
    hashes.push(foldRight(roots));
  }
  return hashes;
}

async function readSubtree(
  subtree: Subtree,
  size: number,
  readTile: ReadTile,
  tiles: Map<string, Promise<Uint8Array>>,
): Promise<Uint8Array> {
  const { level, from, count } = hashesOf(subtree);
  const index = Math.floor(from / TILE_HASHES);
  const width = Math.min(TILE_HASHES, countAt(level, size) - index * TILE_HASHES);
  const name = `${level}/${index}`;
  if (!tiles.has(name)) tiles.set(name, readHashes({ level, index, width }, readTile));
  const tile = await tiles.get(name)!;
  const at = from - index * TILE_HASHES;
  let row = Array.from({ length: count }, (_, offset) =>
    tile.subarray((at + offset) * HASH_BYTES, (at + offset + 1) * HASH_BYTES),
  );
  while (row.length > 1)
    row = Array.from({ length: row.length / 2 }, (_, pair) => nodeHash(row[pair * 2]!, row[pair * 2 + 1]!));
  return row[0]!;
}

/** A partial tile may be gone once the full one is there, which begins with it (C2SP tlog-tiles). */
async function readHashes(
  tile: { level: number; index: number; width: number },
  readTile: ReadTile,
): Promise<Uint8Array> {
  for (const width of new Set([tile.width, TILE_HASHES])) {
    const path = tilePath({ ...tile, width });
    const bytes = await readTile(path);
    if (bytes === null) continue;
    if (bytes.length !== width * HASH_BYTES)
      throw new TileFault(`${path} has ${bytes.length} bytes, not ${width * HASH_BYTES}`);
    return bytes;
  }
  throw new TileFault(`${tilePath(tile)} is not there`);
}
