// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { PinnedIssuer } from "./certificate.ts";
import { makeSpecimen } from "./specimen.ts";
import { verifyProof } from "./verify.ts";

test("no single bit of a proof can be turned without its failing at level 2", () => {
  const { bytes, issuer } = makeSpecimen();
  const options = { issuers: [new PinnedIssuer(issuer)], level: 2 } as const;
  const copy = Uint8Array.from(bytes);
  const held: string[] = [];
  for (let index = 0; index < bytes.length; index++) {
    for (let bit = 0; bit < 8; bit++) {
      copy[index]! ^= 1 << bit;
      if (verifyProof(copy, options).valid) held.push(`byte ${index} bit ${bit}`);
      copy[index]! ^= 1 << bit;
    }
  }
  expect(held).toEqual([]);
}, 300_000);
