// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Frontier, leafHash, merkleRoot } from "../proofs/merkle.ts";
import {
  consistencyPlan,
  extendsTree,
  foldRight,
  includes,
  inclusionPlan,
  type ProofStep,
  rootPlan,
  type Subtree,
} from "./tree.ts";

const SIZES = 70;
const entries = Array.from({ length: SIZES }, (_, index) => Uint8Array.of(index, 7));
const leaves = entries.map(leafHash);
const rootOf = (size: number) => merkleRoot(entries.slice(0, size));

/** A complete subtree's root by its definition, whatever was kept of it. */
const subtree = ({ level, position }: Subtree) =>
  merkleRoot(entries.slice(position * 2 ** level, (position + 1) * 2 ** level));
const made = (plan: readonly ProofStep[]) => plan.map((step) => foldRight(step.map(subtree)));

test("every leaf of every tree is proved, in one way and in no other place", () => {
  for (let size = 1; size <= SIZES; size++) {
    const root = rootOf(size);
    for (let index = 0; index < size; index++) {
      const proof = made(inclusionPlan(index, size));
      expect(proof.length).toBeLessThanOrEqual(Math.ceil(Math.log2(size)));
      expect(includes(leaves[index]!, index, size, proof, root)).toBe(true);
      const elsewhere = (index + 1) % size;
      if (size > 1) expect(includes(leaves[index]!, elsewhere, size, proof, root)).toBe(false);
      expect(includes(leaves[index]!, index, size, [...proof, root], root)).toBe(false);
      if (proof.length > 0) expect(includes(leaves[index]!, index, size, proof.slice(1), root)).toBe(false);
    }
  }
});

test("every tree is proved to begin with every smaller one, and with no other of its size", () => {
  for (let size = 0; size <= SIZES; size++) {
    for (let older = 0; older <= size; older++) {
      const proof = made(consistencyPlan(older, size));
      const [was, is] = [
        { size: older, root: rootOf(older) },
        { size, root: rootOf(size) },
      ];
      expect(extendsTree(was, is, proof), `${older} in ${size}`).toBe(true);
      if (older === 0) continue;
      const other = { size: older, root: merkleRoot([...entries.slice(1, older), entries[0]!, entries[0]!]) };
      expect(extendsTree(other, is, proof)).toBe(false);
      if (older === size) continue;
      expect(extendsTree(was, { size, root: other.root }, proof)).toBe(false);
      expect(extendsTree(was, is, [...proof, is.root])).toBe(false);
      expect(extendsTree(was, is, proof.slice(0, -1))).toBe(false);
      expect(extendsTree(is, was, proof)).toBe(false);
    }
  }
});

test("a frontier gives the root of every size, also when it was put down and taken up again", () => {
  let tree = new Frontier();
  for (let size = 0; size < SIZES; size++) {
    expect(tree.root()).toEqual(rootOf(size));
    expect(tree.hashes()).toEqual(rootPlan(size).flat().map(subtree));
    tree = new Frontier(size, tree.hashes());
    tree.add(leaves[size]!, (level, position, hash) => expect(hash).toEqual(subtree({ level, position })));
  }
  expect(() => new Frontier(3, [leaves[0]!])).toThrow(RangeError);
  expect(() => new Frontier(1, [leaves[0]!.subarray(1)])).toThrow(RangeError);
});

test("plans name what exists only, however large the tree", () => {
  const size = 2 ** 52 + 12345;
  for (const index of [0, 1, 2 ** 51, 2 ** 52 - 1, 2 ** 52, size - 1]) {
    const plan = inclusionPlan(index, size);
    expect(plan.length).toBeLessThanOrEqual(53);
    for (const { level, position } of plan.flat())
      expect((position + 1) * 2 ** level).toBeLessThanOrEqual(size);
  }
  expect(consistencyPlan(2 ** 40 + 1, size).length).toBeLessThanOrEqual(54);
  expect(() => inclusionPlan(5, 5)).toThrow(RangeError);
  expect(() => inclusionPlan(0.5, 5)).toThrow(RangeError);
  expect(() => consistencyPlan(6, 5)).toThrow(RangeError);
  expect(() => consistencyPlan(-1, 5)).toThrow(RangeError);
});

describe("a proof chosen by somebody else", () => {
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const count = fc.oneof(fc.nat(80), fc.constantFrom(-1, 0.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY));

  test("is answered and never holds", () => {
    fc.assert(
      fc.property(count, count, fc.array(hash, { maxLength: 60 }), hash, (one, other, proof, root) => {
        expect(includes(leaves[0]!, one, other, proof, root)).toBe(false);
        if (one === 0) return;
        expect(extendsTree({ size: one, root }, { size: other, root: leaves[0]! }, proof)).toBe(false);
      }),
    );
  });

  test("fails with any byte of it changed", () => {
    const size = fc.integer({ min: 2, max: SIZES });
    fc.assert(
      fc.property(size, fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), (size, where, byte, change) => {
        const index = where % size;
        const proof = made(inclusionPlan(index, size));
        proof[where % proof.length]![byte % 32]! ^= change;
        expect(includes(leaves[index]!, index, size, proof, rootOf(size))).toBe(false);
      }),
    );
  });
});
