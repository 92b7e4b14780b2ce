// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { fromHex, toHex } from "./encoding.ts";
import { leafHash, merkleRoot, merkleRootText, nodeHash } from "./merkle.ts";
import { sha256 } from "./primitives.ts";

/** The definition of RFC 6962 section 2.1, word for word. */
function defined(entries: Uint8Array[]): Uint8Array {
  if (entries.length === 0) return sha256("");
  if (entries.length === 1) return leafHash(entries[0]!);
  let split = 1;
  while (split * 2 < entries.length) split *= 2;
  return nodeHash(defined(entries.slice(0, split)), defined(entries.slice(split)));
}

test("the empty tree is the hash of nothing", () => {
  expect(merkleRootText([])).toBe("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
});

test("it gives the published roots of the certificate transparency test tree", () => {
  const entries = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
  ].map((hex) => fromHex(hex)!);
  const root = (count: number) => toHex(merkleRoot(entries.slice(0, count)));
  expect(root(1)).toBe("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
  expect(root(2)).toBe("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
  expect(root(8)).toBe("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
});

test("it is the definition for every size", () => {
  const entries: Uint8Array[] = [];
  for (let size = 0; size <= 70; size++) {
    expect(merkleRoot(entries)).toEqual(defined(entries));
    entries.push(Uint8Array.of(size, size >> 3));
  }
});

test("a repeated last entry makes another root", () => {
  const entries = [1, 2, 3].map((value) => Uint8Array.of(value));
  expect(merkleRoot([...entries, entries[2]!])).not.toEqual(merkleRoot(entries));
});

test("two leaf hashes presented as one entry make another root", () => {
  const [left, right] = [Uint8Array.of(1), Uint8Array.of(2)];
  const joined = new Uint8Array([...leafHash(left), ...leafHash(right)]);
  expect(merkleRoot([joined])).not.toEqual(merkleRoot([left, right]));
});
