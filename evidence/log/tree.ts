// SPDX-License-Identifier: Apache-2.0
/**
 * Proofs over the Merkle tree of RFC 6962 (and, unchanged, RFC 9162): that an entry is in a tree, and
 * that one tree is the beginning of another.
 *
 *  A. Making a proof is two things: a plan, which names the subtrees whose hashes are needed, and the
 *     reading of those, which is somebody else's (tiles of a folder, rows of a database).
 *  B. Checking takes hashes only, and is total: any list of any length gets true or false.
 *  C. Sizes go up to 2^53−1, so they are halved by division: a shift would take 32 bits of them.
 */
import { nodeHash } from "../proofs/merkle.ts";

/** The root over the 2^level leaves that begin at position · 2^level: a hash that never changes once it exists. */
export interface Subtree {
  level: number;
  position: number;
}

/** A member of a proof: the root over neighbouring complete subtrees, left to right. */
export type ProofStep = readonly Subtree[];

/** The largest power of two below `size`; `size` ≥ 2. */
function split(size: number): number {
  let power = 1;
  while (power * 2 < size) power *= 2;
  return power;
}

/** The complete subtrees that make up [from, to), largest first; `from` is a multiple of the largest. */
function cover(from: number, to: number): Subtree[] {
  const subtrees: Subtree[] = [];
  for (let at = from; at < to; ) {
    let level = 0;
    let size = 1;
    while (size * 2 <= to - at) {
      size *= 2;
      level += 1;
    }
    subtrees.push({ level, position: at / size });
    at += size;
  }
  return subtrees;
}

/** What the root of a tree of `size` leaves is made of. */
export const rootPlan = (size: number): ProofStep => cover(0, size);

/** What proves that leaf `index` is in the tree of `size` leaves: PATH of RFC 6962, 2.1.1. */
export function inclusionPlan(index: number, size: number): ProofStep[] {
  requireCounts(index, size);
  if (index >= size) throw new RangeError(`leaf ${index} is not in a tree of ${size}`);
  const plan: ProofStep[] = [];
  let [from, to] = [0, size];
  while (to - from > 1) {
    const middle = from + split(to - from);
    if (index < middle) {
      plan.push(cover(middle, to));
      to = middle;
    } else {
      plan.push(cover(from, middle));
      from = middle;
    }
  }
  return plan.reverse();
}

/** What proves that the tree of `size` leaves begins with that of `older`: PROOF of RFC 6962, 2.1.2. */
export function consistencyPlan(older: number, size: number): ProofStep[] {
  requireCounts(older, size);
  if (older > size) throw new RangeError(`a tree of ${older} is not the beginning of one of ${size}`);
  if (older === 0 || older === size) return [];
  const plan: ProofStep[] = [];
  let [from, to] = [0, size];
  // While true, the older tree is the whole of what is looked at, and its reader knows its root.
  let known = true;
  while (older !== to) {
    const middle = from + split(to - from);
    if (older <= middle) {
      plan.push(cover(middle, to));
      to = middle;
    } else {
      plan.push(cover(from, middle));
      from = middle;
      known = false;
    }
  }
  if (!known) plan.push(cover(from, to));
  return plan.reverse();
}

function requireCounts(...counts: number[]): void {
  for (const count of counts)
    if (!Number.isSafeInteger(count) || count < 0) throw new RangeError(`${count} is no count of leaves`);
}

/** The root over neighbours, given left to right, largest first. */
export function foldRight(hashes: readonly Uint8Array[]): Uint8Array {
  let root = hashes.at(-1);
  if (root === undefined) throw new RangeError("nothing has no root");
  for (let index = hashes.length - 2; index >= 0; index--) root = nodeHash(hashes[index]!, root);
  return root;
}

/** RFC 9162, 2.1.3.2. */
export function includes(
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!isCount(index) || !isCount(size) || index >= size) return false;
  let [at, last] = [index, size - 1];
  let hash = leaf;
  for (const step of proof) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(step, hash);
      while (at % 2 === 0 && at !== 0) [at, last] = [at / 2, half(last)];
    } else {
      hash = nodeHash(hash, step);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 && same(hash, root);
}

/**
 * RFC 9162, 2.1.4.2, with the two cases it leaves out: a tree is consistent with itself, and an empty
 * one with every other, both without a proof.
 */
export function extendsTree(
  older: { size: number; root: Uint8Array },
  newer: { size: number; root: Uint8Array },
  proof: readonly Uint8Array[],
): boolean {
  if (!isCount(older.size) || !isCount(newer.size) || older.size > newer.size) return false;
  if (older.size === newer.size) return proof.length === 0 && same(older.root, newer.root);
  if (older.size === 0) return proof.length === 0;
  let [at, last] = [older.size - 1, newer.size - 1];
  while (at % 2 === 1) [at, last] = [half(at), half(last)];
  // An older tree that is one complete subtree is its own first member.
  const steps = at === 0 ? [older.root, ...proof] : [...proof];
  const first = steps.shift();
  if (first === undefined) return false;
  let [was, is] = [first, first];
  for (const step of steps) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      was = nodeHash(step, was);
      is = nodeHash(step, is);
      while (at % 2 === 0 && at !== 0) [at, last] = [at / 2, half(last)];
    } else {
      is = nodeHash(is, step);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 && same(was, older.root) && same(is, newer.root);
}

const half = (count: number) => Math.floor(count / 2);
const isCount = (count: number) => Number.isSafeInteger(count) && count >= 0;

/** Nothing compared here is secret. */
export function same(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
