// SPDX-License-Identifier: Apache-2.0
import { hash } from "node:crypto";
import { expect, test } from "vitest";
import { BLOCK_BYTES, verityTree } from "./verity.ts";

const data = (blocks: number) =>
  Buffer.concat(
    Array.from({ length: blocks }, (_, at) => Buffer.alloc(BLOCK_BYTES, hash("sha256", `${at}`, "buffer"))),
  );

// What `veritysetup format --no-superblock --salt=<64 zeros>` of cryptsetup 2.6.1 makes of the same blocks.
test.each([
  [1, "bfb7e74da45ef05b4201cc04de0a37f8493d0a080ad6904b9441378a12f0e29e", hash("sha256", "")],
  [
    128,
    "8c7ce42c13d57221cf2d39b6a685762cb73eca2855b6945eff289dd7bf1e9f19",
    "7d54255bb360a6c7a2a52b3b8581e961c4710432a0c6299d9d17161df62f1f2d",
  ],
  [
    129,
    "eef26ce5a86ba4a02c885ed93251bb6b0e6b62745b0199d6be6dc721c0e7ea5e",
    "d6126f38818eb1e41e04ba3880d17cd9d24947ae862d483de4f70e0ec6b6caee",
  ],
  [
    16385,
    "b215963cd68623037941acf9a46ffea41ed5fce8d5580d66b8c806ad5c992acd",
    "dcde9be0e6cfad8a677f9e5a742aea31219d4ea09bda9b9799632494ab482be9",
  ],
])("root hash and tree of %i blocks are those of veritysetup", (blocks, root, tree) => {
  const made = verityTree(data(blocks));
  expect(made.rootHash).toBe(root);
  expect(hash("sha256", made.tree)).toBe(tree);
  expect(made.blocks).toBe(blocks);
});

test("one changed bit anywhere changes the root hash", () => {
  const one = data(130);
  const before = verityTree(one).rootHash;
  for (const at of [0, 65 * BLOCK_BYTES + 7, one.length - 1]) {
    one[at]! ^= 1;
    expect(verityTree(one).rootHash).not.toBe(before);
    one[at]! ^= 1;
  }
  expect(verityTree(one).rootHash).toBe(before);
});

test.each([0, 1, BLOCK_BYTES + 1])("%i bytes are no whole blocks", (bytes) => {
  expect(() => verityTree(Buffer.alloc(bytes))).toThrow(/whole blocks/);
});
