// SPDX-License-Identifier: Apache-2.0
import { sign } from "node:crypto";
import { describe, expect, test } from "vitest";
import { fromBase64, fromBase64Text, fromHex, toBase64Text, toHex } from "./encoding.ts";
import { isSoundPoint, readPublicKey, readSignature, signatureHolds, spkiOfRaw } from "./keys.ts";
import { makeKey } from "./specimen.ts";

// The curve −x² + y² = 1 + d·x²·y² over p, in plain integers: slow, and independent of what it checks.
const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const mod = (value: bigint) => ((value % P) + P) % P;
function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let bits = exponent, square = mod(base); bits > 0n; bits >>= 1n, square = mod(square * square)) {
    if (bits & 1n) result = mod(result * square);
  }
  return result;
}
const inverse = (value: bigint) => power(value, P - 2n);
const D = mod(-121665n * inverse(121666n));
type Point = readonly [bigint, bigint];
function add([x1, y1]: Point, [x2, y2]: Point): Point {
  const product = mod(D * mod(x1 * x2) * mod(y1 * y2));
  return [
    mod(mod(x1 * y2 + x2 * y1) * inverse(mod(1n + product))),
    mod(mod(y1 * y2 + x1 * x2) * inverse(mod(1n - product))),
  ];
}
function times(count: bigint, point: Point): Point {
  let result: Point = [0n, 1n];
  for (let bits = count, double = point; bits > 0n; bits >>= 1n, double = add(double, double)) {
    if (bits & 1n) result = add(result, double);
  }
  return result;
}
/** A root of x² = (y² − 1)/(d·y² + 1), or null. */
function xOf(y: bigint): bigint | null {
  const square = mod(mod(y * y - 1n) * inverse(mod(D * mod(y * y) + 1n)));
  let x = power(square, (P + 3n) / 8n);
  if (mod(x * x) !== square) x = mod(x * power(2n, (P - 1n) / 4n));
  return mod(x * x) === square ? x : null;
}
const encode = (y: bigint, sign: bigint) => {
  let value = y | (sign << 255n);
  return Uint8Array.from({ length: 32 }, () => {
    const byte = Number(value & 255n);
    value >>= 8n;
    return byte;
  });
};

/** All eight points of order dividing 8, found by multiplying other points by L. */
function smallOrderPoints(): Point[] {
  const found = new Map<string, Point>();
  for (let y = 2n; found.size < 8; y++) {
    const x = xOf(y);
    if (x === null) continue;
    const small = times(L, [x, y]);
    for (let count = 1n; count <= 8n; count++) {
      const point = times(count, small);
      found.set(point.join(), point);
    }
  }
  return [...found.values()];
}

describe("refused as a point", () => {
  const points = smallOrderPoints();

  test("all eight of small order, with either sign bit", () => {
    expect(points).toHaveLength(8);
    for (const [x, y] of points) {
      expect(times(8n, [x, y])).toEqual([0n, 1n]);
      for (const sign of [0n, 1n]) expect(isSoundPoint(encode(y, sign))).toBe(false);
    }
  });

  test("every y of at least p", () => {
    for (let y = P; y < 2n ** 255n; y++) {
      for (const sign of [0n, 1n]) expect(isSoundPoint(encode(y, sign))).toBe(false);
    }
  });

  test("what is not 32 bytes", () => {
    expect(isSoundPoint(new Uint8Array(31).fill(9))).toBe(false);
    expect(isSoundPoint(new Uint8Array(33).fill(9))).toBe(false);
  });
});

test("neighbours of refused encodings are no victims", () => {
  expect(isSoundPoint(encode(P - 2n, 0n))).toBe(true);
  expect(isSoundPoint(encode(2n, 1n))).toBe(true);
});

describe("refused as a public key", () => {
  const { spki } = makeKey();
  const spoilt = (change: (bytes: Uint8Array) => Uint8Array) =>
    readPublicKey(toBase64Text(change(Uint8Array.from(spki))));

  test("every other DER header", () => {
    for (let index = 0; index < 12; index++) {
      expect(
        spoilt((bytes) => {
          bytes[index]! ^= 1;
          return bytes;
        }),
      ).toBe("malformed");
    }
  });

  test("bytes before, after or missing", () => {
    expect(spoilt((bytes) => bytes.slice(0, 43))).toBe("malformed");
    expect(spoilt((bytes) => Uint8Array.of(...bytes, 0))).toBe("malformed");
    expect(spoilt((bytes) => bytes.slice(12))).toBe("malformed");
  });

  test("a small-order key in a correct header", () => {
    for (const [, y] of smallOrderPoints()) {
      expect(spoilt((bytes) => Uint8Array.of(...bytes.slice(0, 12), ...encode(y, 0n)))).toBe("weak");
      expect(spkiOfRaw(encode(y, 1n))).toBe("weak");
    }
  });
});

describe("refused as a signature", () => {
  const { key, spki } = makeKey();
  const message = new Uint8Array([1, 2, 3]);
  const signature = sign(null, message, key);
  const scalar = () => BigInt(`0x${toHex(Uint8Array.from(signature.subarray(32)).toReversed())}`);
  const withS = (s: bigint) => Uint8Array.of(...signature.subarray(0, 32), ...encode(s, 0n));

  test("the genuine one with the group order added to S", () => {
    expect(readSignature(toBase64Text(withS(scalar())))).toEqual(Uint8Array.from(signature));
    expect(readSignature(toBase64Text(withS(scalar() + L)))).toBe("weak");
    expect(readSignature(toBase64Text(withS(L)))).toBe("weak");
    expect(readSignature(toBase64Text(withS(L - 1n)))).not.toBe("weak");
  });

  test("a small-order R", () => {
    for (const [, y] of smallOrderPoints()) {
      expect(readSignature(toBase64Text(Uint8Array.of(...encode(y, 0n), ...signature.subarray(32))))).toBe(
        "weak",
      );
    }
  });

  test("another length", () => {
    expect(readSignature(toBase64Text(signature.subarray(0, 63)))).toBe("malformed");
    expect(readSignature(toBase64Text(Uint8Array.of(...signature, 0)))).toBe("malformed");
  });

  test("one of another message or key", () => {
    expect(signatureHolds(spki, message, signature)).toBe(true);
    expect(signatureHolds(spki, new Uint8Array([1, 2, 4]), signature)).toBe(false);
    expect(signatureHolds(makeKey().spki, message, signature)).toBe(false);
  });
});

test("base64 has one spelling for each byte string", () => {
  for (let length = 1; length < 20; length++) {
    const bytes = Uint8Array.from({ length }, (_, index) => (index * 37 + length * 11) & 255);
    const text = toBase64Text(bytes);
    expect(text).toBe(`base64:${Buffer.from(bytes).toString("base64")}`);
    expect(fromBase64Text(text)).toEqual(bytes);
  }
  const refused = [
    "",
    "A",
    "AA",
    "AAA",
    "AB==",
    "AAB=",
    "A===",
    "AA=A",
    "AA==AAAA",
    "-_8=",
    "AA= ",
    " AA=",
    "AAA\n",
    "ÀAAA",
  ];
  for (const text of refused) expect(fromBase64(text), text).toBeNull();
  expect(fromBase64Text("AAAA")).toBeNull();
  expect(fromHex("AB")).toBeNull();
  expect(fromHex("abc")).toBeNull();
});
