// SPDX-License-Identifier: Apache-2.0
/**
 * The hash tree of dm-verity, version 1, as the kernel reads it: blocks of hashes over blocks, the root's level first. Made here
 * and not by a program, since whoever verifies an image wants to compute the root hash from the file alone.
 */
import { hash } from "node:crypto";

export const BLOCK_BYTES = 4096;
const HASH_BYTES = 32;
/** A fixed salt: one image that everybody has gains nothing by a secret or a random one. */
export const SALT = Buffer.alloc(32);

export interface VerityTree {
  rootHash: string;
  /** Goes right behind the data. */
  tree: Buffer;
  blocks: number;
}

/** `data` is a whole number of blocks, at least one. */
export function verityTree(data: Uint8Array): VerityTree {
  if (data.length === 0 || data.length % BLOCK_BYTES !== 0)
    throw new RangeError(`verity needs whole blocks of ${BLOCK_BYTES} bytes`);
  const levels: Buffer[] = [];
  let below: Uint8Array = data;
  while (below.length > BLOCK_BYTES) {
    below = hashesOf(below);
    levels.unshift(below as Buffer);
  }
  const rootHash = digest(below).toString("hex");
  return { rootHash, tree: Buffer.concat(levels), blocks: data.length / BLOCK_BYTES };
}

function hashesOf(blocks: Uint8Array): Buffer {
  const count = blocks.length / BLOCK_BYTES;
  const level = Buffer.alloc(Math.ceil((count * HASH_BYTES) / BLOCK_BYTES) * BLOCK_BYTES);
  for (let at = 0; at < count; at++)
    level.set(digest(blocks.subarray(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES)), at * HASH_BYTES);
  return level;
}

const salted = Buffer.alloc(SALT.length + BLOCK_BYTES);

function digest(block: Uint8Array): Buffer {
  salted.set(SALT, 0);
  salted.set(block, SALT.length);
  return hash("sha256", salted, "buffer");
}
