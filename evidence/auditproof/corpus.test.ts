// SPDX-License-Identifier: Apache-2.0
/** The format owner's public corpus, and what was made beside it: verdict, stage and the whole reason, case by case. */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { auditProofs, proofsFolder } from "#testing/vectors.ts";
import { linesRoot } from "./hash.ts";
import { judgeAuditProof } from "./ladder.ts";
import { type Manifest, openManifest } from "./manifest.ts";

const read = (path: string) => readFileSync(join(proofsFolder, path));
const json = (path: string) => JSON.parse(read(path).toString());
const cases = auditProofs.met
  ? globSync("corpus/**/*.expected.json", { cwd: proofsFolder }).map((path) =>
      path.replace(".expected.json", ""),
    )
  : ["(the corpus is not here)"];

describeWith([auditProofs], "the public corpus", () => {
  test("is there, every category of it", () => {
    expect(cases.length).toBeGreaterThanOrEqual(57);
    for (const { path } of json("corpus/index.json").categories)
      expect(
        cases.some((one) => one.startsWith(`corpus/${path}/`)),
        path,
      ).toBe(true);
  });

  test.each(cases)("%s", (path) => {
    const { policy, note: _, ...expected } = json(`${path}.expected.json`);
    expect(judgeAuditProof(read(`${path}.json`), { policy: policy ?? {} })).toEqual(expected);
  });

  test("a document that was really issued verifies", () => {
    expect(judgeAuditProof(read("captured/api-v2_1-real-capsule.json"))).toEqual({
      ...{ valid: true, stage_reached: 7, failure_reason: null },
    });
  });

  test("roots over customers' files are those published", () => {
    const { vectors } = json("customer_declared_activity_root_vectors.json");
    expect(vectors.length).toBe(5);
    for (const { input_utf8, root } of vectors)
      expect(`sha512:${linesRoot(Buffer.from(input_utf8))}`).toBe(root);
  });

  test("a manifest says whose key it is, and is refused when it does not hold itself", () => {
    const { cases: derived } = json("derived/expected.json");
    expect(derived.length).toBeGreaterThan(5);
    for (const { manifest: file, pin, manifest_check, document, expected } of derived) {
      const manifest = openManifest(json(`derived/${file}`), pin);
      if (typeof manifest === "string") {
        expect(manifest, file).toBe(manifest_check);
        continue;
      }
      expect(manifest_check, file).toBe("ok");
      expect(judgeAuditProof(read(document), { manifest: manifest as Manifest }), file).toEqual(expected);
    }
  });
});
