// SPDX-License-Identifier: Apache-2.0
/** An AuditProof on the command line: the format's verdict, and exit codes that a script can trust. */
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeSpecimen } from "#evidence/proofs/specimen.ts";
import { printedBy } from "#testing/printed.ts";
import { describeWith } from "#testing/requirements.ts";
import { auditProofs, proofsFolder } from "#testing/vectors.ts";
import { verifyProofCommand } from "./verify-proof.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "casemate-audit-proof-"));
});
afterAll(() => rm(folder, { recursive: true }));

const run = (argv: string[]) =>
  printedBy((printer) => verifyProofCommand(argv, { ...printer, stdin: (async function* () {})() }));

async function file(name: string, value: unknown): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, typeof value === "string" ? value : JSON.stringify(value));
  return path;
}

describe("a document without a profile", () => {
  test("that lacks its chain fails at stage 3, and JSON has three members", async () => {
    const path = await file("chainless.json", { cdp_version: "2.1" });
    const { code, out } = await run([path, "--json"]);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toEqual({
      ...{ valid: false, stage_reached: 3 },
      failure_reason: { type: "required_field_missing", field: "chain" },
    });
    expect((await run([path])).out).toContain("failure: required_field_missing");
  });

  test("that names no version fails at stage 1", async () => {
    const { code, out } = await run([await file("empty.json", {}), "--json"]);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ stage_reached: 1, failure_reason: { field: "cdp_version" } });
  });

  test("has no levels: one that is asked for cannot be checked", async () => {
    const path = await file("chainless.json", { cdp_version: "2.1" });
    const key = "MCowBQYDK2VwAyEAGVHak/xHE0xBsS1K/zXf3f5XTSdINLQ568meFsvQvCw=";
    const { code, err } = await run([path, "--issuer", `me=${key}`]);
    expect(code).toBe(3);
    expect(err).toContain("--trust-chain");
  });
});

test("a document with a profile is none, bare or in the answer to a session's end", async () => {
  const { cdp, issuer } = makeSpecimen();
  for (const [name, value] of Object.entries({ "bare.json": cdp, "answer.json": { session_id: "s", cdp } })) {
    const given = ["--issuer", `${issuer.issuerId}=${issuer.publicKey}`];
    const { code, out } = await run([await file(name, value), ...given]);
    expect([code, out]).toEqual([0, expect.stringContaining("The proof holds at level 2.")]);
  }
});

test("one in the answer to a session's end is judged as if it were bare", async () => {
  const path = await file("within.json", { session_id: "s", cdp: { cdp_version: "2.1" } });
  expect(JSON.parse((await run([path, "--json"])).out)).toMatchObject({ stage_reached: 3 });
});

describe("wrong usage", () => {
  test.each([
    ["a demand that there is not", { required_regoin: "us" }],
    ["a demand that is no text", { required_region: 1 }],
    ["a policy that is a list", []],
    ["a policy within a policy", { policy: { policy: {} } }],
  ])("%s is refused, not passed over", async (_what, policy) => {
    const path = await file("some.json", { cdp_version: "2.1" });
    expect((await run([path, "--policy", await file("policy.json", policy)])).code).toBe(2);
  });

  test("a trust chain without a pin, a pin without one, and one that does not hold are refused", async () => {
    const path = await file("some.json", { cdp_version: "2.1" });
    const chain = await file("chain.json", { authorities: {} });
    for (const given of [
      ["--trust-chain", chain],
      ["--pin", "sha256:00"],
      ["--trust-chain", chain, "--pin", "sha256:00"],
    ]) {
      const { code, out } = await run([path, ...given]);
      expect(code, given.join(" ")).toBe(2);
      expect(out).toBe("");
    }
  });
});

describeWith([auditProofs], "documents that were really issued", () => {
  const at = (path: string) => join(proofsFolder, path);
  const real = "captured/api-v2_1-real-capsule.json";

  test("hold at stage 7 by their own key, and fall to a policy of another region", async () => {
    const held = await run([at(real), "--json"]);
    expect([held.code, held.out]).toEqual([
      ...[0, '{"valid":true,"stage_reached":7,"failure_reason":null}\n'],
    ]);
    const policy = await file("elsewhere.json", { required_region: "nowhere-1" });
    const { code, out } = await run([at(real), "--json", "--policy", policy]);
    expect(code).toBe(1);
    expect(JSON.parse(out).failure_reason.type).toBe("region_mismatch");
  });

  test("are whole and not accepted without their signature", async () => {
    const document = JSON.parse(readFileSync(at(real), "utf8"));
    document.attestation = null;
    const { code, out } = await run([await file("unsigned.json", document)]);
    expect(code).toBe(3);
    expect(out).toContain("anybody can write one");
  });

  test("get stage, reason and exit code of their manifests", async () => {
    const { cases } = JSON.parse(readFileSync(at("derived/expected.json"), "utf8"));
    for (const { manifest, pin, manifest_check, document, expected } of cases) {
      const argv = [at(document ?? real), "--json", "--trust-chain", at(`derived/${manifest}`), "--pin", pin];
      const { code, out } = await run(argv);
      if (manifest_check !== "ok") expect(code, manifest).toBe(2);
      else {
        expect(JSON.parse(out), manifest).toEqual(expected);
        expect(code, manifest).toBe(expected.valid ? 0 : 1);
      }
    }
  });
});
