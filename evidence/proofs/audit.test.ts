// SPDX-License-Identifier: Apache-2.0
/** AuditProof documents before the verifier that answers `POST /v1/verify`. */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { auditProofs, proofsFolder } from "#testing/vectors.ts";
import { verifyProof } from "./verify.ts";

test("an AuditProof without a chain is not valid, and no check of it passed", () => {
  expect(verifyProof('{"cdp_version":"2.1","chain":[]}')).toMatchObject({
    ...{ valid: false, level: 0, failures: ["invalid_member"] },
    checks: { chain_integrity: false, final_hash: false, signature: false, step_count: 0 },
  });
});

describeWith([auditProofs], "AuditProof documents", () => {
  const read = (path: string) => readFileSync(join(proofsFolder, path));
  const real = () => JSON.parse(read("captured/api-v2_1-real-capsule.json").toString());

  test("one that was really issued is valid at level 1, also in an envelope, and says nothing of its origin", () => {
    for (const document of [real(), { cdp: real() }])
      expect(verifyProof(JSON.stringify(document))).toMatchObject({
        ...{ valid: true, level: 1, outcome: null, failures: [], warnings: ["origin_unknown"] },
        checks: { chain_integrity: true, final_hash: true, signature: true, step_count: 8 },
      });
  });

  test("one that nobody signed is not valid", () => {
    expect(verifyProof(JSON.stringify({ ...real(), attestation: null }))).toMatchObject({
      ...{ valid: false, level: 0, failures: ["signature_missing"] },
      checks: { chain_integrity: true, final_hash: true, signature: false },
    });
  });

  test("what was not reached has not passed", () => {
    const document = real();
    document.chain[3].chain_hash = document.chain[2].chain_hash;
    expect(verifyProof(JSON.stringify(document))).toMatchObject({
      ...{ valid: false, failures: ["chain_hash_mismatch"] },
      checks: { chain_integrity: false, final_hash: false, signature: false },
    });
  });

  test("one has no certificate: level 2 cannot be had", () => {
    const { valid, level, failures } = verifyProof(JSON.stringify(real()), { level: 2 });
    expect([valid, level, failures]).toEqual([false, 1, ["certificate_missing"]]);
  });

  test("each of the corpus without a policy is valid exactly when the corpus accepts it with a signature", () => {
    const paths = globSync("corpus/**/*.expected.json", { cwd: proofsFolder });
    expect(paths.length).toBeGreaterThanOrEqual(57);
    for (const path of paths) {
      const { valid, stage_reached, policy } = JSON.parse(read(path).toString());
      const document = read(path.replace(".expected.json", ".json"));
      const version = JSON.parse(document.toString()).cdp_version;
      if (policy !== undefined || !/^2\.[012]$/.test(version)) continue;
      expect(verifyProof(document).valid, path).toBe(valid && stage_reached >= 7);
    }
  });
});
