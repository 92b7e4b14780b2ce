// SPDX-License-Identifier: Apache-2.0
/** Whoever saved a checkpoint finds out what became of the log, from its published tiles alone. */
import { expect, test } from "vitest";
import { leafHash, merkleRoot } from "../proofs/merkle.ts";
import { type OpenedCheckpoint, openCheckpoint } from "./checkpoint.ts";
import { checkGrowth, type ReadTile, TileFault } from "./growth.ts";
import { makeLog } from "./specimen.ts";
import { countAt, readTilePath, TILE_HASHES } from "./tiles.ts";

const log = makeLog();
const entries = Array.from({ length: 70_000 }, (_, index) => Buffer.from(`entry ${index}`));
const opened = (list: readonly Uint8Array[]) => openCheckpoint(log.checkpoint(list)) as OpenedCheckpoint;

/** Every tile of every size, computed from the entries as they are: none of the code that is judged here. */
function tilesOf(list: readonly Uint8Array[], asked: string[] = []): ReadTile {
  return async (path) => {
    asked.push(path);
    const tile = readTilePath(path.replace(/^tile\//, ""));
    if (tile === null || tile.level === "entries") return null;
    const { level, index, width } = tile;
    if (index * TILE_HASHES + width > countAt(level, list.length)) return null;
    const span = TILE_HASHES ** level;
    return Buffer.concat(
      Array.from({ length: width }, (_, at) => {
        const from = (index * TILE_HASHES + at) * span;
        return span === 1 ? leafHash(list[from]!) : merkleRoot(list.slice(from, from + span));
      }),
    );
  };
}

test.each([
  [0, 1],
  [1, 2],
  [3, 7],
  [255, 256],
  [256, 257],
  [257, 1_000],
  [1_000, 1_000],
  [65_535, 65_537],
  [300, 70_000],
  [69_999, 70_000],
])("a log of %i entries that grew to %i is seen to have grown", async (older, size) => {
  const list = entries.slice(0, size);
  const asked: string[] = [];
  const held = opened(entries.slice(0, older));
  expect(await checkGrowth(held, opened(list), tilesOf(list, asked), [log.noteKey])).toBeNull();
  expect(new Set(asked).size).toBe(asked.length);
  expect(asked.length).toBeLessThan(8);
});

test.each([
  [2, 7, 1],
  [257, 1_000, 3],
  [300, 2_000, 299],
])("a log of %i entries whose %i now have another one at %i is found out", async (older, size, at) => {
  const forged = entries.slice(0, size).with(at, Buffer.from("forged"));
  const held = opened(entries.slice(0, older));
  expect(await checkGrowth(held, opened(forged), tilesOf(forged))).toBe("consistency_invalid");
});

test("another log, a foreign key, a shorter log and another one of the same size each have their name", async () => {
  const [held, newest] = [opened(entries.slice(0, 5)), opened(entries.slice(0, 9))];
  const tiles = tilesOf(entries.slice(0, 9));
  const other = openCheckpoint(makeLog("example.org/other").checkpoint(entries.slice(0, 9)))!;
  expect(await checkGrowth(held, other, tiles)).toBe("log_origin_mismatch");
  expect(await checkGrowth(held, newest, tiles, [makeLog().noteKey])).toBe("log_key_unknown");
  expect(await checkGrowth(newest, held, tiles)).toBe("log_behind");
  expect(await checkGrowth(held, opened(entries.slice(1, 6)), tiles)).toBe("log_forked");
});

test("a partial tile that is gone is read from the full one", async () => {
  const whole = tilesOf(entries.slice(0, 256));
  const newest = opened(entries.slice(0, 200));
  const read: ReadTile = async (path) => (path.includes(".p/") ? null : whole(path));
  expect(await checkGrowth(opened(entries.slice(0, 100)), newest, read)).toBeNull();
});

test("tiles that are missing or cut decide nothing", async () => {
  const [held, newest] = [opened(entries.slice(0, 5)), opened(entries.slice(0, 9))];
  const tiles = tilesOf(entries.slice(0, 9));
  await expect(checkGrowth(held, newest, async () => null)).rejects.toThrow(TileFault);
  const cut: ReadTile = async (path) => (await tiles(path))?.subarray(1) ?? null;
  await expect(checkGrowth(held, newest, cut)).rejects.toThrow(TileFault);
});
