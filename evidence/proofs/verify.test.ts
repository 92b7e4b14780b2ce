// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { makeSpecimen } from "./specimen.ts";
import { verifyProof } from "./verify.ts";

const specimen = makeSpecimen();
const pinned = { issuers: [specimen.issuer] };

test("a proof that was just made holds at level 2 under its issuer", () => {
  expect(verifyProof(specimen.bytes, pinned)).toEqual({
    valid: true,
    level: 2,
    outcome: "complete",
    profile: "casemate-cdp/1",
    checks: { chain_integrity: true, final_hash: true, signature: true, step_count: 8 },
    warnings: [],
    failures: [],
  });
});
