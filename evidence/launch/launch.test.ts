// SPDX-License-Identifier: Apache-2.0
import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { type LaunchManifest, manifestBytes, manifestSha256 } from "./manifest.ts";
import { qualifyingDataOf, reportDataOf } from "./report-data.ts";

const hash = (bytes: string | Uint8Array) => createHash("sha256").update(bytes).digest();
const manifest: LaunchManifest = {
  ...{ v: 1, compose: "a".repeat(64), files: {}, domains: ["a.test"] },
  ...{ publicService: "api", publicPort: 80, images: {}, stateDisk: true },
};

it("a manifest has one form whatever the order it was written in, and each member decides its hash", async () => {
  const names = JSON.parse('{"b":"2","__proto__":"1","a":"3"}') as Record<string, string>;
  const text = Buffer.from(manifestBytes({ ...manifest, files: names })).toString();
  expect(text).toBe(
    `{"compose":"${"a".repeat(64)}","domains":["a.test"],"files":{"__proto__":"1","a":"3","b":"2"},"images":{},"publicPort":80,"publicService":"api","stateDisk":true,"v":1}`,
  );
  const sum = (one: object) => manifestSha256(manifestBytes(one as LaunchManifest));
  expect(await sum(manifest)).toBe(hash(manifestBytes(manifest)).toString("hex"));
  const hashes = [
    manifest,
    { ...manifest, publicPort: 81 },
    { ...manifest, domains: [] },
    { ...manifest, stateDisk: false },
  ];
  expect(new Set(await Promise.all(hashes.map(sum))).size).toBe(hashes.length);
});

it("evidence for one use is not evidence for another", async () => {
  const spki = Buffer.from("spki");
  const nonce = Buffer.from("nonce");
  const sealingKey = Buffer.from("key");
  const plain = await reportDataOf(spki, { form: "report", nonce: null });
  expect(Buffer.from(plain)).toEqual(Buffer.concat([Buffer.from([0]), hash(spki), Buffer.alloc(31)]));
  const fresh = await reportDataOf(spki, { form: "report", nonce });
  expect(Buffer.from(fresh)).toEqual(
    Buffer.concat([Buffer.from([1]), hash(spki), hash(nonce).subarray(0, 31)]),
  );
  const seal = await reportDataOf(spki, { form: "seal", nonce, sealingKey });
  expect(Buffer.from(seal)).toEqual(
    Buffer.concat([Buffer.from([2]), hash(spki), hash("noncekey").subarray(0, 31)]),
  );
  expect(Buffer.from(await qualifyingDataOf(seal))).toEqual(hash(seal));
});
