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

/** The root over entries in order. Holds one hash per level, so a long list may be a generator. */
export function merkleRoot(entries: Iterable<Uint8Array>): Uint8Array {
  // `full[k]` is the root of a complete subtree of 2^k leaves that waits for its right neighbour:
  // exactly the left-heavy split of the RFC, built from the left.
  const full: (Uint8Array | undefined)[] = [];
  let any = false;
  for (const entry of entries) {
    any = true;
    let hash = leafHash(entry);
    let level = 0;
    for (let left = full[level]; left !== undefined; left = full[level]) {
      hash = nodeHash(left, hash);
      full[level++] = undefined;
    }
    full[level] = hash;
  }
  if (!any) return sha256("");
  let root: Uint8Array | undefined;
  for (const hash of full) {
    if (hash !== undefined) root = root === undefined ? hash : nodeHash(hash, root);
  }
  return root!;
}

/** The root in text form, `sha256:` and lower-case hex. */
export function merkleRootText(entries: Iterable<Uint8Array>): string {
  return `sha256:${toHex(merkleRoot(entries))}`;
}
