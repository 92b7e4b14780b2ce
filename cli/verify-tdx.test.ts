// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { printedBy } from "#testing/printed.ts";
import { describeWith } from "#testing/requirements.ts";
import { tdxFolder, tdxVectors } from "#testing/vectors.ts";
import { verifyTdxCommand } from "./verify-tdx.ts";

const THEN = "2025-07-01T00:00:00Z";
const vector = (name: string) => join(tdxFolder, name);
const QUOTE = vector("dcap-qvl/tdx_quote");
const COLLATERAL = vector("dcap-qvl/tdx_quote_collateral.json");
const WHOLE = ["--quote", QUOTE, "--collateral", COLLATERAL];
let folder = "";
const path = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "casemate-verify-tdx-"));
});
afterAll(() => rm(folder, { recursive: true }));

const run = (argv: string[]) =>
  printedBy((printer) => verifyTdxCommand(argv, { ...printer, nowMs: () => Date.parse(THEN) }));

describeWith([tdxVectors], "a real quote", () => {
  test("is accepted with exit 0, with collateral as a file and as a folder that has more", async () => {
    for (const collateral of [COLLATERAL, vector("dcap-qvl")]) {
      const { code, out } = await run(["--quote", QUOTE, "--collateral", collateral, "--json"]);
      expect(code).toBe(0);
      const { accepted, steps, tcbStatus } = JSON.parse(out);
      expect({ accepted, tcbStatus }).toEqual({ accepted: true, tcbStatus: "UpToDate" });
      for (const step of steps)
        expect(step).toEqual({ name: expect.any(String), ok: true, detail: expect.stringMatching(/.{10}/) });
    }
  });

  test("is read as hex, too", async () => {
    await writeFile(path("quote.hex"), `${(await readFile(QUOTE)).toString("hex")}\n`);
    expect((await run(["--quote", path("quote.hex"), "--collateral", COLLATERAL])).code).toBe(0);
  });

  test("is judged at the time that is given, and now without one", async () => {
    expect((await run([...WHOLE, "--at", "2025-06-25"])).code).toBe(0);
    const { code, out } = await run([...WHOLE, "--at", "2026-11-23T00:00:00Z"]);
    expect(code).toBe(1);
    expect(out).toContain("FAIL revocation");
    expect(out).toContain("FAIL collateral-dates");
    expect(out).toContain("ok   signature");
    expect(out).toContain("The quote is refused.");
  });

  test("is refused without collateral, and with another platform's, with a whole document", async () => {
    for (const more of [[], ["--collateral", vector("go-tdx-guest")]]) {
      const { code, out } = await run(["--quote", QUOTE, ...more, "--json"]);
      expect(code).toBe(1);
      expect(JSON.parse(out).steps.length).toBeGreaterThan(15);
    }
  });

  test("is held to a policy, which may have parts for other evidence, and to report data", async () => {
    const quote = await readFile(QUOTE);
    const register = (at: number) => quote.toString("hex", 48 + at, 48 + at + 48);
    const policy = (mrTd: string) =>
      `snp: {}\ntdx:\n  mrTds: ["${mrTd}"]\n  rtmrs:\n    0: any\n    1: ["${register(376)}"]\n    2: ["${register(424)}"]\n    3: ["${register(472)}"]\n`;
    await writeFile(path("good.yaml"), policy(register(136)));
    await writeFile(path("other.yaml"), policy("00".repeat(48)));
    const data = quote.toString("hex", 48 + 520, 48 + 584);
    const { code, out } = await run([
      ...WHOLE,
      "--policy",
      path("good.yaml"),
      "--report-data",
      data,
      "--json",
    ]);
    expect(code).toBe(0);
    expect(JSON.parse(out).unasked.map(({ name }: { name: string }) => name)).toEqual(["rtmr0"]);
    expect((await run([...WHOLE, "--policy", path("other.yaml")])).out).toContain("FAIL mrtd");
    expect((await run([...WHOLE, "--report-data", "00".repeat(64)])).out).toContain("FAIL report-data");
  });

  test("runs as casemate attest verify-tdx", () => {
    const root = fileURLToPath(new URL("..", import.meta.url));
    const argv = ["cli/main.ts", "attest", "verify-tdx", ...WHOLE, "--at", THEN, "--json"];
    const { status, stdout } = spawnSync(process.execPath, argv, { cwd: root, encoding: "utf8" });
    expect(status).toBe(0);
    expect(JSON.parse(stdout).accepted).toBe(true);
  });
});

describe("any file", () => {
  test("is refused with a document, also one without an end", async () => {
    await writeFile(path("nothing"), "");
    await writeFile(path("junk"), "junk");
    for (const file of [path("nothing"), path("junk"), "/dev/zero"]) {
      const { code, out } = await run(["--quote", file, "--collateral", file, "--json"]);
      expect(code).toBe(1);
      expect(JSON.parse(out)).toMatchObject({ accepted: false, steps: expect.any(Array) });
    }
  });
});

describe("exit code 2, with the usage and nothing on stdout,", () => {
  test.each<[string, string[]]>([
    ["without arguments", []],
    ["for a file that is not there", ["--quote", "/nonexistent"]],
    ["for collateral that is not there", ["--quote", "/dev/null", "--collateral", "/nonexistent"]],
    ["for an unknown option", ["--quote", "/dev/null", "--quick"]],
    ["for an argument too many", ["--quote", "/dev/null", "more"]],
    ["for a time without a zone", ["--quote", "/dev/null", "--at", "2026-01-01T00:00:00"]],
    ["for report data of another length", ["--quote", "/dev/null", "--report-data", "00"]],
  ])("%s", async (_name, argv) => {
    const { code, out, err } = await run(argv);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("Usage:");
  });

  test("for a policy that has no part for TDX, or one that is none", async () => {
    for (const [index, text] of ["snp: {}", "tdx: {debug: true}", "other: 1\ntdx: {}", "tdx: ["].entries()) {
      await writeFile(path(`bad-${index}`), text);
      const { code, err } = await run(["--quote", "/dev/null", "--policy", path(`bad-${index}`)]);
      expect(code).toBe(2);
      expect(err).toMatch(/policy/i);
    }
  });
});
