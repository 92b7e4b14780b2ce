// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { printedBy } from "#testing/printed.ts";
import { describeWith } from "#testing/requirements.ts";
import { snpFolder, snpVectors, tdxFolder, tdxVectors } from "#testing/vectors.ts";
import { verifyEvidenceCommand } from "./verify-evidence.ts";

const SNP = join(snpFolder, "trustee/test-report.bin");
const SNP_BESIDE = ["trustee/test-vcek.der", "go-sev-guest/trust/ask_ark_milan.pem"].flatMap((name) => [
  "--with",
  join(snpFolder, name),
]);
const TDX = join(tdxFolder, "dcap-qvl/tdx_quote");
const TDX_BESIDE = ["--with", join(tdxFolder, "dcap-qvl/tdx_quote_collateral.json"), "--at", "2025-07-01"];
let folder = "";
const path = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "casemate-verify-evidence-"));
});
afterAll(() => rm(folder, { recursive: true }));

const run = (argv: string[]) =>
  printedBy((printer) =>
    verifyEvidenceCommand(argv, { ...printer, nowMs: () => Date.UTC(2026, 10, 22, 12) }),
  );

describeWith([snpVectors, tdxVectors], "one policy for every kind of evidence", () => {
  beforeAll(async () => {
    const report = await readFile(SNP);
    const quote = await readFile(TDX);
    const register = (at: number) => `["${quote.toString("hex", 48 + at, 48 + at + 48)}"]`;
    const snp = [
      "snp:",
      `  measurements: ["${report.toString("hex", 0x90, 0xc0)}"]`,
      "  crlRequired: false",
      "  tcbFloors: { Milan: { bootloader: 3, tee: 0, snp: 8, microcode: 115 } }",
    ];
    const tdx = [
      "tdx:",
      `  mrTds: ${register(136)}`,
      `  rtmrs: { 0: ${register(328)}, 1: ${register(376)}, 2: ${register(424)}, 3: ${register(472)} }`,
    ];
    await writeFile(path("policy.yaml"), [...snp, ...tdx].join("\n"));
    await writeFile(path("snp.yaml"), snp.join("\n"));
    await writeFile(
      path("other.yaml"),
      [...snp, ...tdx].join("\n").replace(/mrTds: \["..../, 'mrTds: ["0000'),
    );
  });

  test.each([
    ["sev-snp", SNP, SNP_BESIDE],
    ["tdx", TDX, TDX_BESIDE],
  ])("accepts what it names of %s, with exit 0 and in words", async (platform, file, beside) => {
    const argv = [file, ...beside, "--policy", path("policy.yaml")];
    const { code, out } = await run([...argv, "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ platform, accepted: true, hardware: true, uncheckable: false });
    const words = (await run(argv)).out;
    expect(words).toMatch(/^This is a (report of AMD SEV-SNP|quote of Intel TDX)\.\n/);
    expect(words).toContain("The evidence is accepted.");
    expect(words).not.toContain("FAIL");
  });

  test("answers 3 for genuine evidence that it has no part for, and without a policy", async () => {
    for (const more of [[], ["--policy", path("snp.yaml")]]) {
      const { code, out } = await run([TDX, ...TDX_BESIDE, ...more]);
      expect(code).toBe(3);
      expect(out).toContain("no policy says what was expected");
      expect(out).not.toContain("evidence is accepted");
    }
  });

  test("refuses another guest, and one that was not to bind what it bound, with exit 1", async () => {
    const other = await run([TDX, ...TDX_BESIDE, "--policy", path("other.yaml")]);
    expect(other.code).toBe(1);
    expect(other.out).toContain("FAIL mrtd");
    const bound = ["--bound", "00".repeat(64)];
    expect((await run([TDX, ...TDX_BESIDE, ...bound])).code).toBe(1);
    expect((await run([SNP, ...SNP_BESIDE, ...bound])).out).toContain("FAIL report-data");
  });

  test("runs as casemate attest verify", () => {
    const root = fileURLToPath(new URL("..", import.meta.url));
    const argv = [
      "cli/main.ts",
      "attest",
      "verify",
      TDX,
      ...TDX_BESIDE,
      "--policy",
      path("policy.yaml"),
      "--json",
    ];
    const { status, stdout } = spawnSync(process.execPath, argv, { cwd: root, encoding: "utf8" });
    expect(status).toBe(0);
    expect(JSON.parse(stdout).accepted).toBe(true);
  });
});

test("a file that is no evidence is refused with exit 1 and a document", async () => {
  for (const file of ["/dev/null", "/dev/zero", fileURLToPath(import.meta.url)]) {
    const { code, out } = await run([file, "--json"]);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ platform: null, accepted: false });
  }
});

describe("exit code 2, with the usage and nothing on stdout,", () => {
  test.each<[string, string[]]>([
    ["without arguments", []],
    ["for two files", ["/dev/null", "/dev/null"]],
    ["for a file that is not there", ["/nonexistent"]],
    ["for a policy that is not there", ["/dev/null", "--policy", "/nonexistent"]],
    ["for an empty policy", ["/dev/null", "--policy", "/dev/null"]],
    ["for a folder that is not there", ["/dev/null", "--with", "/nonexistent"]],
    ["for bound bytes that are none", ["/dev/null", "--bound", "0"]],
    ["for too many bound bytes", ["/dev/null", "--bound", "00".repeat(65)]],
    ["for a key's name that is none", ["/dev/null", "--key-name", "00"]],
    ["for an unknown option", ["/dev/null", "--quick"]],
  ])("%s", async (_name, argv) => {
    const { code, out, err } = await run(argv);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("Usage:");
  });
});
