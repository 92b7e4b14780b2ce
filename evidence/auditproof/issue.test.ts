// SPDX-License-Identifier: Apache-2.0
import { sign } from "node:crypto";
import { expect, test } from "vitest";
import { makeKey, makeSpecimen } from "../proofs/specimen.ts";
import { issueAuditProof } from "./issue.ts";
import { judgeAuditProof } from "./ladder.ts";

const exportKey = makeKey();
const key = {
  ...{ authorityId: "casemate-export-test", version: "1", raw: exportKey.spki.subarray(-32) },
  sign: (message: Uint8Array) => sign(null, message, exportKey.key),
};

test("an end that was not complete is exported as one that was not, from its first step that failed", () => {
  const { bytes, cdp } = makeSpecimen((parts) => ({
    ...parts,
    steps: parts.steps.with(1, { ...parts.steps[1], ok: false }) as unknown as typeof parts.steps,
  }));
  const document = issueAuditProof(bytes, cdp, key);
  const failed = cdp.evidence[7].measured.failed_steps;
  expect(failed.length).toBeGreaterThan(0);
  expect(JSON.parse(document)).toMatchObject({
    ...{ destruction_state: "incomplete_destruction", destruction_failure_step: Math.min(...failed) },
  });
  expect(judgeAuditProof(document, { activityFile: bytes })).toMatchObject({ valid: true, stage_reached: 7 });
});

test("no clean proof is exported as one that failed", () => {
  const { bytes, cdp } = makeSpecimen();
  expect(JSON.parse(issueAuditProof(bytes, cdp, key))).toMatchObject({
    ...{ destruction_state: "complete", destruction_failure_step: null },
  });
});
