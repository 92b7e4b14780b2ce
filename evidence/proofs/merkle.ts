// SPDX-License-Identifier: Apache-2.0
/**
 * Merkle tree hash of RFC 6962 section 2.1. Leaves and nodes are hashed under different first
 * bytes, so that a node can never be presented as a leaf; an odd node is carried up, never paired
 * with itself, so that no two lists share a root.
 */
import { toHex } from "./encoding.ts";
import { sha256 } from "./primitives.ts";

export function leafHash(entry: Uint8Array): Uint8Array {
  const prefixed = new Uint8Array(entry.length + 1);
  prefixed.set(entry, 1);
  return sha256(prefixed);
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  const joined = new Uint8Array(left.length + right.length + 1);
  joined[0] = 1;
  joined.set(left, 1);
  joined.set(right, left.length + 1);
  return sha256(joined);
}

/**
 * A tree that only grows: one hash per complete subtree, largest first, which is all that the root
 * and the next leaf need. `full[k]` is the root over 2^k leaves that waits for its right neighbour:
 * exactly the left-heavy split of the RFC, built from the left.
 */
export class Frontier {
  readonly #full: (Uint8Array | undefined)[] = [];
  #size = 0;

  /** `hashes` as `hashes()` gave them for a tree of `size` leaves. */
  constructor(size = 0, hashes: readonly Uint8Array[] = []) {
    let at = 0;
    for (let level = Math.floor(Math.log2(Math.max(size, 1))) + 1; level >= 0; level--)
      if (Math.floor(size / 2 ** level) % 2 === 1) this.#full[level] = hashes[at++];
    if (at !== hashes.length || hashes.some(({ length }) => length !== 32))
      throw new RangeError(`${hashes.length} hashes are not the frontier of ${size} leaves`);
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  /** Takes the hash of the next leaf; `completed` hears of every subtree it completes, itself too. */
  add(leaf: Uint8Array, completed?: (level: number, position: number, hash: Uint8Array) => void): void {
    let hash = leaf;
    let level = 0;
    let position = this.#size;
    completed?.(level, position, hash);
    for (let left = this.#full[level]; left !== undefined; left = this.#full[level]) {
      hash = nodeHash(left, hash);
      this.#full[level++] = undefined;
      position = Math.floor(position / 2);
      completed?.(level, position, hash);
    }
    this.#full[level] = hash;
    this.#size += 1;
  }

  /** Largest subtree first. */
  hashes(): Uint8Array[] {
    return this.#full.filter((hash) => hash !== undefined).reverse();
  }

  root(): Uint8Array {
    let root: Uint8Array | undefined;
    for (const hash of this.#full)
      if (hash !== undefined) root = root === undefined ? hash : nodeHash(hash, root);
    return root ?? sha256("");
  }
}

/** The root over entries in order. Holds one hash per level, so a long list may be a generator. */
export function merkleRoot(entries: Iterable<Uint8Array>): Uint8Array {
  const tree = new Frontier();
  for (const entry of entries) tree.add(leafHash(entry));
  return tree.root();
}

/** The root in text form, `sha256:` and lower-case hex. */
export function merkleRootText(entries: Iterable<Uint8Array>): string {
  return `sha256:${toHex(merkleRoot(entries))}`;
}
