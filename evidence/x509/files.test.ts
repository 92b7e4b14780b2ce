// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { DerFault } from "./der.ts";
import { derOf } from "./files.ts";

const pem = (base64: string) =>
  new TextEncoder().encode(`-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`);

test("a PEM block has one text for one meaning: digits that mean nothing are zero", () => {
  expect(derOf(pem("MAA="), "CERTIFICATE")).toEqual([Uint8Array.of(0x30, 0)]);
  for (const other of ["MAB=", "MAC=", "MAD=", "MB==", "MAA", "MA=A"])
    expect(() => derOf(pem(other), "CERTIFICATE")).toThrow(DerFault);
});
