// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { bundle, countAt, readTilePath, tilePath, unbundle } from "./tiles.ts";

test("paths are those of the specification, and are read back", () => {
  const known = [
    [{ level: 0, index: 0, width: 256 }, "tile/0/000"],
    [{ level: 0, index: 1_234_067, width: 256 }, "tile/0/x001/x234/067"],
    [{ level: 1, index: 0, width: 17 }, "tile/1/000.p/17"],
    [{ level: 5, index: 999, width: 1 }, "tile/5/999.p/1"],
    [{ level: "entries", index: 1000, width: 255 }, "tile/entries/x001/000.p/255"],
  ] as const;
  for (const [tile, path] of known) {
    expect(tilePath(tile)).toBe(path);
    expect(readTilePath(path.slice("tile/".length))).toEqual(tile);
  }
});

test.each([
  "6/000",
  "-1/000",
  "00/000",
  "0/0",
  "0/0000",
  "0/x000/000",
  "0/x001",
  "0/001/234",
  "0/x001/x234",
  "0/000.p/0",
  "0/000.p/256",
  "0/000.p/01",
  "0/000.p/",
  "0/000/",
  "entry/000",
  "0/../000",
  `0/${"x999/".repeat(5)}999`,
  "",
])("%s is no tile's path", (path) => {
  expect(readTilePath(path)).toBeNull();
});

test("a level has a hash for each full tile below it", () => {
  expect([0, 1, 2, "entries" as const].map((level) => countAt(level, 65_536 + 255))).toEqual([
    65_791, 256, 1, 65_791,
  ]);
});

test("entries come out of a bundle as they went in, and out of no bundle that was cut", () => {
  const entries = [0, 1, 300, 65_535].map((length) => new Uint8Array(length).fill(length));
  const bytes = bundle(entries);
  expect(unbundle(bytes)).toEqual(entries);
  expect(unbundle(bytes.subarray(0, -1))).toBeNull();
  expect(unbundle(Uint8Array.of(0))).toBeNull();
  expect(unbundle(new Uint8Array())).toEqual([]);
  expect(() => bundle([new Uint8Array(65_536)])).toThrow(RangeError);
});
