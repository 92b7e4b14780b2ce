// SPDX-License-Identifier: Apache-2.0
import { createHash, createHmac } from "node:crypto";
import { expect, test } from "vitest";
import { canonicalJson, GENESIS, hashOf, linkHash, probeRoot, salted, saltId, zeroRoot } from "./hash.ts";

const sha256 = (text: string) => `sha256:${createHash("sha256").update(text).digest("hex")}`;
const salt = "5a".repeat(32);

test("a hash is over its tag, a line feed and the canonical form", () => {
  expect(hashOf("cdp/1/context", { b: 1, a: "é" })).toBe(sha256('cdp/1/context\n{"a":"é","b":1}'));
});

test("the same object under another tag has another hash", () => {
  expect(hashOf("cdp/1/context", {})).not.toBe(hashOf("cdp/1/evidence", {}));
});

test("a link written out is the link in canonical form", () => {
  const link = {
    prev: GENESIS,
    context_hash: sha256("context"),
    step: 3,
    subsystem: "eee_memory",
    operation: "multipass_overwrite",
    evidence_hash: sha256("evidence"),
  };
  expect(linkHash(link)).toBe(hashOf("cdp/1/link", link));
});

test("the first predecessor is the hash of nothing", () => {
  expect(GENESIS).toBe("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
});

test("a salted value is an HMAC over its kind, a line feed and the value", () => {
  const expected = createHmac("sha256", Buffer.from(salt, "hex")).update("mnt\n4026532800").digest("hex");
  expect(salted(salt, "mnt", "4026532800")).toBe(`hmac-sha256:${expected}`);
  expect(salted(salt, "pid", "4026532800")).not.toBe(salted(salt, "mnt", "4026532800"));
});

test("kind and value cannot trade characters", () => {
  expect(() => salted(salt, "mnt\n4", "2")).toThrow(TypeError);
});

test("a salt id names one salt and does not show it", () => {
  expect(saltId(salt)).toBe(sha256(`cdp/1/salt\n{"salt":"${salt}"}`));
  expect(() => saltId(salt.toUpperCase())).toThrow(TypeError);
  expect(() => saltId("5a")).toThrow(TypeError);
});

test("half a surrogate pair is never hashed", () => {
  expect(() => canonicalJson({ a: "\ud800" })).toThrow();
});

test("a probe root changes with order and with every member", () => {
  const probe = { name: "mounts", expected: "0", observed: "0", ok: true };
  const root = probeRoot([probe, { ...probe, name: "fds" }]);
  expect(probeRoot([{ ...probe, name: "fds" }, probe])).not.toBe(root);
  expect(
    probeRoot([
      { ...probe, ok: false },
      { ...probe, name: "fds" },
    ]),
  ).not.toBe(root);
});

test("a zero root over nothing is null, not the root of an empty tree", () => {
  expect(zeroRoot([])).toBeNull();
});
