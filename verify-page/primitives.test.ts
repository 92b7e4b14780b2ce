// SPDX-License-Identifier: Apache-2.0
/** The browser's primitives against Node's: whoever finds a signature on which they differ has a document with two verdicts. */
import { generateKeyPairSync, sign } from "node:crypto";
import { ed25519 } from "@noble/curves/ed25519.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isSoundSignature, spkiOfRaw } from "#evidence/proofs/keys.ts";
import * as node from "#evidence/proofs/primitives.ts";
import * as browser from "./primitives.ts";

const { Point } = ed25519;
const L = Point.Fn.ORDER;
const message = Buffer.from("a final hash");
const littleEndian = (value: bigint) =>
  Uint8Array.from({ length: 32 }, (_, index) => Number((value >> BigInt(8 * index)) & 0xffn));
const prefixed = (raw: Uint8Array) =>
  Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.from(raw)]);

/** Judged by both, also past the guard that refuses weak keys by their bytes. */
function both(raw: Uint8Array, text: Uint8Array, signature: Uint8Array): boolean {
  const spki = prefixed(raw);
  const found = browser.ed25519Verify(spki, text, signature);
  expect(found, `key ${Buffer.from(raw).toString("hex")}`).toBe(node.ed25519Verify(spki, text, signature));
  return found;
}

/** A point of order 8, from a point of no order in particular. */
const torsion = (() => {
  for (let y = 3n; ; y++) {
    try {
      const point = Point.fromBytes(littleEndian(y), false);
      const small = point.multiplyUnsafe(L - 1n).add(point);
      if (!small.multiplyUnsafe(4n).is0()) return small;
    } catch {
      // No point has this y.
    }
  }
})();

describe("the same as Node's", () => {
  test("hashes, of text and of bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.string(), (bytes, text) => {
        expect(browser.sha256Hex(bytes)).toBe(node.sha256Hex(bytes));
        expect(browser.sha256Hex(text)).toBe(node.sha256Hex(text));
        expect(browser.sha512Hex(text)).toBe(node.sha512Hex(text));
        expect(Buffer.from(browser.sha256(text))).toEqual(node.sha256(text));
        expect(Buffer.from(browser.sha512(bytes))).toEqual(node.sha512(bytes));
        expect(browser.hmacSha256Hex(bytes, bytes)).toBe(node.hmacSha256Hex(bytes, bytes));
      }),
    );
  });

  test("signatures that hold, and the same with a bit turned anywhere", () => {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const raw = publicKey.export({ format: "der", type: "spki" }).subarray(12);
    const signature = sign(null, message, privateKey);
    expect(both(raw, message, signature)).toBe(true);
    const imported = browser.importEd25519(prefixed(raw));
    expect(browser.ed25519Verify(imported, message, signature)).toBe(true);
    for (let bit = 0; bit < 512; bit += 3) {
      const turned = Buffer.from(signature);
      turned[bit >> 3]! ^= 1 << (bit % 8);
      expect(both(raw, message, turned)).toBe(false);
    }
    for (const length of [0, 63, 65]) expect(both(raw, message, Buffer.alloc(length, signature))).toBe(false);
  });

  test("an S that was not reduced is refused", () => {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const raw = publicKey.export({ format: "der", type: "spki" }).subarray(12);
    const signature = sign(null, message, privateKey);
    const s = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString("hex")}`);
    for (const other of [s + L, L, L - 1n, 0n, 2n ** 256n - 1n])
      expect(both(raw, message, Buffer.concat([signature.subarray(0, 32), littleEndian(other)]))).toBe(false);
  });

  test("keys and signatures into which points of small order were mixed", () => {
    // With the cofactor all of these would hold; without it, those in which the mixed part cancels.
    let held = 0;
    for (let round = 0; round < 64; round++) {
      const secret = BigInt(1_000_003 + round * 7919);
      const nonce = BigInt(5_000_011 + round * 104_729);
      const key = Point.BASE.multiply(secret).add(torsion.multiplyUnsafe(BigInt(round % 8)));
      const r = Point.BASE.multiply(nonce).add(torsion.multiplyUnsafe(BigInt((round >> 3) % 8)));
      const text = Buffer.from(`message ${round}`);
      const hashed = node.sha512(Buffer.concat([r.toBytes(), key.toBytes(), text]));
      const k = BigInt(`0x${Buffer.from(hashed).reverse().toString("hex")}`) % L;
      const s = (nonce + k * secret) % L;
      if (both(key.toBytes(), text, Buffer.concat([r.toBytes(), littleEndian(s)]))) held++;
    }
    expect(held).toBeGreaterThan(0);
    expect(held).toBeLessThan(40);
  });

  test("keys of small order come to neither: the guard before both refuses them by their bytes", () => {
    // OpenSSL refuses them again, which the curve's own equation does not.
    for (let order = 0n; order < 8n; order++) {
      const raw = torsion.multiplyUnsafe(order).toBytes();
      expect(spkiOfRaw(raw)).toBe("weak");
      expect(isSoundSignature(Buffer.concat([raw, littleEndian(0n)]))).toBe(false);
    }
  });

  test("bytes that are no key and no signature", () => {
    const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
    fc.assert(fc.property(bytes(32), bytes(64), (raw, signature) => void both(raw, message, signature)));
  });
});
