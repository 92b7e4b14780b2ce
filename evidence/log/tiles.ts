// SPDX-License-Identifier: Apache-2.0
/**
 * How a log lies in files (C2SP tlog-tiles): hashes in tiles of 256, entries in bundles of 256. A tile
 * of level L holds the roots over 256^L leaves each, so a full one's own root is one hash of level L+1.
 * A partial tile is named by its width, and what has a name never changes.
 */
import { fromBase64Text } from "../proofs/encoding.ts";
import type { Subtree } from "./tree.ts";

export const TILE_HASHES = 256;
export const HASH_BYTES = 32;
const TILE_HEIGHT = 8;

export interface Tile {
  /** Of hashes: counted from the leaves, 0 to 5; of entries: the word itself. */
  level: number | "entries";
  index: number;
  /** Hashes or entries, 1 to 256. */
  width: number;
}

/** `x001/x234/067`: three digits a folder, so that none holds more than a thousand names. */
function writeIndex(index: number): string {
  const digits = String(index);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, "0").match(/\d{3}/g)!;
  return groups.map((group, at) => (at === groups.length - 1 ? group : `x${group}`)).join("/");
}

/** Below the log's own URL: `tile/0/x001/067.p/12`. */
export function tilePath({ level, index, width }: Tile): string {
  return `tile/${level}/${writeIndex(index)}${width === TILE_HASHES ? "" : `.p/${width}`}`;
}

/** The tile of a path after `tile/`; null for every other spelling. */
export function readTilePath(path: string): Tile | null {
  const [, levelText, indexText, widthText] =
    /^([0-5]|entries)\/([x\d/]{3,24}?)(?:\.p\/(\d{1,3}))?$/.exec(path) ?? [];
  if (levelText === undefined || indexText === undefined) return null;
  const tile: Tile = {
    level: levelText === "entries" ? levelText : Number(levelText),
    index: Number(indexText.replace(/[x/]/g, "")),
    width: widthText === undefined ? TILE_HASHES : Number(widthText),
  };
  if (!Number.isSafeInteger(tile.index * TILE_HASHES) || tile.width < 1) return null;
  return `tile/${path}` === tilePath(tile) ? tile : null;
}

/** Hashes or entries that a tile of this level can hold in a log of `size` entries, counted over all its tiles. */
export function countAt(level: Tile["level"], size: number): number {
  let count = size;
  for (let above = level === "entries" ? 0 : level; above > 0; above--)
    count = Math.floor(count / TILE_HASHES);
  return count;
}

/** Entries as a bundle holds them: two bytes of length, big endian, before each. */
export function bundle(entries: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(entries.reduce((sum, { length }) => sum + 2 + length, 0));
  let at = 0;
  for (const entry of entries) {
    if (entry.length > 0xffff) throw new RangeError("an entry has at most 65535 bytes");
    bytes.set([entry.length >> 8, entry.length & 0xff], at);
    bytes.set(entry, at + 2);
    at += 2 + entry.length;
  }
  return bytes;
}

/** The entries of a bundle; null when its lengths do not add up. */
export function unbundle(bytes: Uint8Array): Uint8Array[] | null {
  const entries: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (at + 2 > bytes.length) return null;
    const length = bytes[at]! * 256 + bytes[at + 1]!;
    if (at + 2 + length > bytes.length) return null;
    entries.push(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return entries;
}

/** The hashes of one tile level from which a subtree's root is made: `count` of them from `from`. */
export function hashesOf({ level, position }: Subtree): { level: number; from: number; count: number } {
  const count = 2 ** (level % TILE_HEIGHT);
  return { level: Math.floor(level / TILE_HEIGHT), from: position * count, count };
}

/** A hash as proofs on the wire have it. */
export function readHash(text: unknown): Uint8Array | null {
  const bytes = typeof text === "string" ? fromBase64Text(`base64:${text}`) : null;
  return bytes?.length === HASH_BYTES ? bytes : null;
}
