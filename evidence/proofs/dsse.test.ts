// SPDX-License-Identifier: Apache-2.0
import { sign, verify } from "node:crypto";
import { assert, integer, property } from "fast-check";
import { describe, expect, test } from "vitest";
import { openStatement, PAYLOAD_TYPE, preAuthEncoding, STATEMENT, signStatement } from "./dsse.ts";
import { makeKey } from "./specimen.ts";

const key = makeKey();
const statement = { _type: STATEMENT, subject: [{ name: "a", digest: { sha256: "0".repeat(64) } }], n: 1 };
const envelope = signStatement(statement, "somebody", (message) => sign(null, message, key.key));
const text = JSON.stringify(envelope);
const [{ sig }] = envelope.signatures as [{ keyid: string; sig: string }];
const withSignature = (signature: Uint8Array) =>
  JSON.stringify({
    ...envelope,
    signatures: [{ keyid: "x", sig: Buffer.from(signature).toString("base64") }],
  });
const signedAs = (type: string, payload: string, message = preAuthEncoding(type, Buffer.from(payload))) =>
  JSON.stringify({
    ...{ payloadType: type, payload: Buffer.from(payload).toString("base64") },
    signatures: [{ sig: sign(null, message, key.key).toString("base64") }],
  });

/** The order of the group, little-endian. */
const ORDER = Buffer.from("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010", "hex");

test("the bytes that are signed are those of the DSSE specification's own example", () => {
  const bytes = preAuthEncoding("http://example.com/HelloWorld", Buffer.from("hello world"));
  expect(Buffer.from(bytes).toString()).toBe("DSSEv1 29 http://example.com/HelloWorld 11 hello world");
});

test("a statement is read by who has the key, and verifies with the platform's own cryptography", () => {
  expect(openStatement(text, key.spki)).toEqual(statement);
  const message = preAuthEncoding(PAYLOAD_TYPE, Buffer.from(envelope.payload, "base64"));
  const spki = { key: Buffer.from(key.spki), format: "der", type: "spki" } as const;
  expect(verify(null, message, spki, Buffer.from(sig, "base64"))).toBe(true);
});

test("one of several signatures is enough, and a key id is nobody's signature", () => {
  const others = { keyid: "somebody", sig: Buffer.alloc(64, 1).toString("base64") };
  expect(
    openStatement(JSON.stringify({ ...envelope, signatures: [others, ...envelope.signatures] }), key.spki),
  ).toEqual(statement);
  expect(openStatement(JSON.stringify({ ...envelope, signatures: [others] }), key.spki)).toBe(
    "signature_invalid",
  );
});

describe("is refused", () => {
  const raw = Buffer.from(sig, "base64");
  const unreduced = Buffer.from(raw);
  let carry = 0;
  for (let at = 0; at < 32; at++) {
    const sum = unreduced[32 + at]! + ORDER[at]! + carry;
    unreduced[32 + at] = sum & 255;
    carry = sum >> 8;
  }
  test.each<[string, string, string]>([
    [
      "another key's",
      JSON.stringify(signStatement(statement, "somebody", (one) => sign(null, one, makeKey().key))),
      "signature_invalid",
    ],
    [
      "another payload",
      JSON.stringify({ ...envelope, payload: Buffer.from("{}").toString("base64") }),
      "signature_invalid",
    ],
    [
      "the payload signed bare",
      signedAs(PAYLOAD_TYPE, JSON.stringify(statement), Buffer.from(JSON.stringify(statement))),
      "signature_invalid",
    ],
    ["an S that is not reduced", withSignature(unreduced), "signature_invalid"],
    [
      "a small-order R",
      withSignature(Buffer.concat([Buffer.from([1]), Buffer.alloc(31), raw.subarray(32)])),
      "signature_invalid",
    ],
    ["a short signature", withSignature(raw.subarray(1)), "signature_invalid"],
    ["no signature", JSON.stringify({ ...envelope, signatures: [] }), "malformed"],
    [
      "another spelling of base64",
      JSON.stringify({ ...envelope, payload: `${envelope.payload}\n` }),
      "malformed",
    ],
    ["a member more", JSON.stringify({ ...envelope, extra: 1 }), "malformed"],
    [
      "a member more beside a signature",
      JSON.stringify({ ...envelope, signatures: [{ ...envelope.signatures[0], cert: "x" }] }),
      "malformed",
    ],
    ["a member named twice", text.replace("{", `{"payloadType":"${PAYLOAD_TYPE}",`), "malformed"],
    ["another type, signed as such", signedAs("text/plain", JSON.stringify(statement)), "unsupported_type"],
    ["a payload that is no JSON", signedAs(PAYLOAD_TYPE, "{"), "statement_malformed"],
    [
      "a payload with a member named twice",
      signedAs(PAYLOAD_TYPE, `{"_type":"${STATEMENT}","n":1,"n":2}`),
      "statement_malformed",
    ],
    [
      "a payload of another type",
      signedAs(PAYLOAD_TYPE, '{"_type":"https://in-toto.io/Statement/v0.1"}'),
      "statement_malformed",
    ],
  ])("%s", (_name, given, fault) => {
    expect(openStatement(given, key.spki)).toBe(fault);
  });
});

test("no bit of an envelope can be turned without another answer, but in the key id that nobody reads", () => {
  const bytes = Buffer.from(text);
  const keyid = text.indexOf("somebody");
  assert(
    property(integer({ min: 0, max: bytes.length * 8 - 1 }), (at) => {
      const byte = at >> 3;
      if (byte >= keyid && byte < keyid + "somebody".length) return;
      const copy = Buffer.from(bytes);
      copy[byte]! ^= 1 << (at & 7);
      const opened = openStatement(copy, key.spki);
      // A turned bit in the name `keyid` makes a member that there is not.
      expect(typeof opened).toBe("string");
    }),
    { numRuns: 2000 },
  );
});
