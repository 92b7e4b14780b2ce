// SPDX-License-Identifier: Apache-2.0
/** What an attacker may write, one rule at a time. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  bitBytes,
  childrenOf,
  DerFault,
  integerBytes,
  oidOf,
  readDer,
  smallInteger,
  textOf,
  timeOf,
} from "./der.ts";
import { der, integer, oid } from "./specimen.ts";

const bytes = (...values: number[]) => Uint8Array.from(values);
const text = (tag: number, value: string) => readDer(der(tag, new TextEncoder().encode(value)));

describe("an element is refused", () => {
  test.each<[string, number[]]>([
    ["that is empty", []],
    ["without a length", [0x30]],
    ["that is cut off", [0x30, 2, 0]],
    ["cut off in its length", [0x04, 0x82, 1]],
    ["with an indefinite length", [0x30, 0x80, 0, 0]],
    ["with a length longer than it must be", [0x04, 0x81, 1, 0]],
    ["with a length of two bytes where one will do", [0x04, 0x82, 0, 200, ...Array(200).fill(0)]],
    ["with a length of four bytes", [0x04, 0x84, 0, 0, 0, 0]],
    ["with a tag of two bytes", [0x1f, 0x20, 0]],
    ["with bytes after it", [0x05, 0, 0]],
  ])("%s", (_name, values) => {
    expect(() => readDer(Uint8Array.from(values))).toThrow(DerFault);
  });

  test("that ends behind the one around it", () => {
    const [outer] = childrenOf(readDer(Uint8Array.from([0x30, 6, 0x30, 2, 0x04, 1, 0x05, 0])));
    expect(() => childrenOf(outer!)).toThrow(DerFault);
    const [cut] = childrenOf(readDer(Uint8Array.from([0x30, 5, 0x30, 1, 0x05, 0x05, 0])));
    expect(() => childrenOf(cut!)).toThrow(DerFault);
  });

  test("with more members than its reader expects", () => {
    const many = readDer(der(0x30, ...Array.from({ length: 33 }, () => integer(1))));
    expect(() => childrenOf(many)).toThrow(DerFault);
    expect(childrenOf(many, 33)).toHaveLength(33);
  });
});

test("numbers are read in their shortest form only, and within their range", () => {
  for (const value of [0, 1, 127, 128, 255, 256, 65535])
    expect(smallInteger(readDer(integer(value)))).toBe(value);
  for (const bad of [bytes(2, 0), bytes(2, 2, 0, 1), bytes(2, 2, 0xff, 0x80), bytes(4, 1, 1)])
    expect(() => integerBytes(readDer(bad))).toThrow(DerFault);
  for (const bad of [bytes(2, 1, 0x80), bytes(2, 4, 1, 0, 0, 0)])
    expect(() => smallInteger(readDer(bad))).toThrow(DerFault);
  expect(() => bitBytes(readDer(bytes(3, 2, 1, 0)))).toThrow(DerFault);
});

test("object identifiers come out as they went in, and are refused in a second spelling", () => {
  for (const dotted of ["2.5.4.3", "1.2.840.113549.1.1.10", "1.3.6.1.4.1.3704.1.3.8", "0.9.2342"])
    expect(oidOf(readDer(oid(dotted)))).toBe(dotted);
  for (const bad of [
    bytes(6, 0),
    bytes(6, 2, 0x55, 0x80),
    bytes(6, 3, 0x55, 0x80, 1),
    bytes(6, 7, 1, ...Array(5).fill(0xff), 1),
  ])
    expect(() => oidOf(readDer(bad))).toThrow(DerFault);
});

test("texts are printable ASCII, of kinds that hold text", () => {
  expect(textOf(text(0x0c, "SEV-Milan"))).toBe("SEV-Milan");
  for (const bad of [
    text(0x0c, "a\u0000"),
    text(0x0c, "\u202e"),
    text(0x04, "a"),
    text(0x13, "x".repeat(257)),
  ])
    expect(() => textOf(bad)).toThrow(DerFault);
});

test("times are calendar times in UTC with seconds, in both forms", () => {
  expect(timeOf(text(0x17, "260301120000Z"))).toBe(Date.UTC(2026, 2, 1, 12));
  expect(timeOf(text(0x17, "500101000000Z"))).toBe(Date.UTC(1950, 0, 1));
  expect(timeOf(text(0x18, "20480515200312Z"))).toBe(Date.UTC(2048, 4, 15, 20, 3, 12));
  const bad = ["20260230000000Z", "20261301000000Z", "20260101240000Z", "20260101006000Z", "20260101000060Z"];
  for (const one of [
    ...bad,
    "20260101000000",
    "20260101000000+0100",
    "202601010000Z",
    "00500101000000Z",
    "2026010100000 Z",
  ])
    expect(() => timeOf(text(0x18, one))).toThrow(DerFault);
  expect(() => timeOf(text(0x17, "20260101000000Z"))).toThrow(DerFault);
});

test("whatever bytes come in are read or refused", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (input) => {
      for (const read of [oidOf, integerBytes, bitBytes, textOf, timeOf, childrenOf])
        try {
          read(readDer(input));
        } catch (fault) {
          expect(fault).toBeInstanceOf(DerFault);
        }
    }),
    { numRuns: 2000 },
  );
});
