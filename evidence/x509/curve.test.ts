// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync } from "node:crypto";
import { expect, test } from "vitest";
import { requireCurve } from "./curve.ts";
import { DerFault } from "./der.ts";
import { spkiOf } from "./specimen.ts";

const on = (namedCurve: string) => spkiOf(generateKeyPairSync("ec", { namedCurve }).privateKey);

test("a key counts on its own curve and on no other", () => {
  requireCurve(on("P-256"), "P-256");
  requireCurve(on("P-384"), "P-384");
  expect(() => requireCurve(on("P-256"), "P-384")).toThrow("not on the curve P-384");
  expect(() => requireCurve(on("secp256k1"), "P-256")).toThrow("not on the curve P-256");
});

test("a key of another kind, one that writes its curve out, and bytes that are none are refused", () => {
  const rsa = spkiOf(generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey);
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256", paramEncoding: "explicit" });
  for (const spki of [rsa, spkiOf(privateKey), new Uint8Array(), Uint8Array.of(0x30, 0)])
    expect(() => requireCurve(spki, "P-256")).toThrow(DerFault);
});
