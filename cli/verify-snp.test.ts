// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeAuthority } from "#evidence/snp/specimen.ts";
import { printedBy } from "#testing/printed.ts";
import { describeWith } from "#testing/requirements.ts";
import { snpFolder, snpVectors } from "#testing/vectors.ts";
import { verifySnpCommand } from "./verify-snp.ts";

const MILAN = { report: "trustee/test-report.bin", leaf: "trustee/test-vcek.der" };
const THEN = "2026-11-22T12:00:00Z";
const MEASUREMENT_AT = 0x90;
const vector = (name: string) => join(snpFolder, name);
let folder = "";
const path = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "casemate-verify-snp-"));
});
afterAll(() => rm(folder, { recursive: true }));

const run = (argv: string[]) =>
  printedBy((printer) => verifySnpCommand(argv, { ...printer, nowMs: () => Date.parse(THEN) }));

function milan(change: Partial<Record<"report" | "leaf" | "chain", string>> = {}): string[] {
  const { report, leaf, chain } = {
    report: vector(MILAN.report),
    leaf: vector(MILAN.leaf),
    chain: vector("go-sev-guest/trust"),
    ...change,
  };
  return ["--report", report, "--leaf", leaf, "--chain", chain];
}

describeWith([snpVectors], "a real report", () => {
  test("is accepted with exit 0 from any folder that holds its chain", async () => {
    for (const chain of ["go-sev-guest/trust", "trustee", "virtee-sev/builtin/milan", "virtee-sev/builtin"]) {
      const { code, out } = await run([...milan({ chain: vector(chain) }), "--json"]);
      expect(code).toBe(0);
      const { accepted, steps } = JSON.parse(out);
      expect(accepted).toBe(true);
      for (const step of steps)
        expect(step).toEqual({ name: expect.any(String), ok: true, detail: expect.stringMatching(/.{10}/) });
    }
  });

  test("is accepted with a chain in one file, also where another block in it is no certificate", async () => {
    const chain = vector("go-sev-guest/trust/ask_ark_milan.pem");
    expect((await run(milan({ chain }))).code).toBe(0);
    const broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    await writeFile(path("mixed.pem"), broken + (await readFile(chain, "utf8")) + broken);
    expect((await run(milan({ chain: path("mixed.pem") }))).code).toBe(0);
  });

  test("is read as hex, too", async () => {
    const chain = vector("virtee-sev/builtin/milan");
    const change = {
      report: vector("virtee-sev/report_milan.hex"),
      leaf: vector("virtee-sev/vcek_milan.der"),
      chain,
    };
    expect((await run(milan(change))).code).toBe(0);
    const text = await readFile(change.report, "utf8");
    await writeFile(path("wrapped.hex"), text.replace(/.{60}/g, "$&\r\n"));
    expect((await run(milan({ ...change, report: path("wrapped.hex") }))).code).toBe(0);
    await writeFile(path("cut.hex"), (await readFile(change.report, "utf8")).slice(0, -2));
    expect((await run(milan({ ...change, report: path("cut.hex") }))).code).toBe(1);
  });

  test("is judged at the time that is given, and now without one", async () => {
    const argv = milan({
      report: vector("trustee/test-vlek-report.bin"),
      leaf: vector("trustee/test-vlek.der"),
    });
    for (const at of ["2025-06-01", "2025-12-10T22:14:20Z", "2025-12-10T23:14:20+01:00"])
      expect((await run([...argv, "--at", at])).code).toBe(0);
    expect((await run([...argv, "--at", "2025-12-10T22:14:22Z"])).out).toContain("FAIL dates");
    expect((await run(argv)).code).toBe(1);
  });

  test("is refused with exit 1 and every step in words", async () => {
    const argv = milan({
      report: vector("go-sev-guest/attestation.bin"),
      leaf: vector("go-sev-guest/vcek.testcer"),
    });
    const { code, out } = await run(argv);
    expect(code).toBe(1);
    expect(out).toContain("FAIL debug");
    expect(out).toContain("ok   signature");
    expect(out).toContain("--   measurement");
    expect(out).toContain("The report is refused.");
  });

  test("is refused without its chain: in an empty folder, among devices, with another line's", async () => {
    await mkdir(path("empty"));
    await mkdir(path("linked"));
    await symlink("/dev/zero", path("linked/endless"));
    await symlink(path("linked"), path("linked/again"));
    for (const chain of [path("empty"), path("linked"), vector("virtee-sev/builtin/genoa")]) {
      const { code, out } = await run([...milan({ chain }), "--json"]);
      expect(code).toBe(1);
      expect(JSON.parse(out).accepted).toBe(false);
    }
    await symlink(vector("go-sev-guest/trust/ask_ark_milan.pem"), path("linked/chain.pem"));
    expect((await run(milan({ chain: path("linked") }))).code).toBe(0);
  });

  test("is held to a policy and to report data", async () => {
    const report = await readFile(vector(MILAN.report));
    const measurement = report.toString("hex", MEASUREMENT_AT, MEASUREMENT_AT + 48);
    const policy = (measured: string) =>
      `snp:\n  measurements: ["${measured}"]\n  crlRequired: false\n  tcbFloors:\n    Milan: {bootloader: 3, tee: 0, snp: 8, microcode: 115}\n`;
    await writeFile(path("good.yaml"), policy(measurement));
    await writeFile(path("other.yaml"), policy("00".repeat(48)));
    const data = report.toString("hex", 0x50, 0x90);
    const asked = ["--policy", path("good.yaml"), "--report-data", data];
    const { code, out } = await run([...milan(), ...asked, "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(out).unasked.map(({ name }: { name: string }) => name)).toEqual(["revocation"]);
    expect((await run([...milan(), "--policy", path("other.yaml")])).out).toContain("FAIL measurement");
    expect((await run([...milan(), "--report-data", "00".repeat(64)])).out).toContain("FAIL report-data");
  });

  test("is refused when a list that is given cannot be read, or is another's", async () => {
    await writeFile(path("other.crl"), makeAuthority("Genoa").signCrl());
    for (const crl of [path("other.crl"), vector(MILAN.leaf)])
      expect((await run([...milan(), "--crl", crl])).out).toContain("FAIL revocation");
  });

  test("runs as a command by itself, and as casemate attest verify-snp", async () => {
    const root = fileURLToPath(new URL("..", import.meta.url));
    for (const command of [["cli/verify-snp.ts"], ["cli/main.ts", "attest", "verify-snp"]]) {
      const argv = [...command, ...milan(), "--at", THEN, "--json"];
      const { status, stdout } = spawnSync(process.execPath, argv, { cwd: root, encoding: "utf8" });
      expect(status).toBe(0);
      expect(JSON.parse(stdout).accepted).toBe(true);
    }
  });
});

describe("any file", () => {
  test("is refused with a document, also one without an end", async () => {
    await mkdir(path("chain"));
    await writeFile(path("chain/junk"), "junk");
    await cp(fileURLToPath(import.meta.url), path("chain/test.ts"));
    await writeFile(path("nothing"), "");
    for (const file of [path("nothing"), path("chain/junk"), "/dev/zero"]) {
      const { code, out } = await run(["--report", file, "--leaf", file, "--chain", path("chain"), "--json"]);
      expect(code).toBe(1);
      expect(JSON.parse(out)).toMatchObject({ accepted: false, steps: expect.any(Array) });
    }
  });
});

describe("exit code 2, with the usage and nothing on stdout,", () => {
  const whole = ["--report", "/dev/null", "--leaf", "/dev/null", "--chain", "/var/empty-of-casemate"];
  test.each<[string, string[]]>([
    ["without arguments", []],
    ["without a leaf", ["--report", "x", "--chain", "y"]],
    [
      "for a file that is not there",
      ["--report", "/nonexistent", "--leaf", "/dev/null", "--chain", "/nonexistent"],
    ],
    ["for a folder that is not there", whole],
    ["for an unknown option", [...whole, "--quick"]],
    ["for an argument too many", [...whole, "more"]],
    ...["soon", "2026-02-30", "2026-01-01T00:00:00", "2026-13-01", "1", ""].map(
      (at) => [`at the time "${at}"`, [...whole, "--at", at]] as [string, string[]],
    ),
    ["for report data of another length", [...whole, "--report-data", "00"]],
  ])("%s", async (_name, argv) => {
    const { code, out, err } = await run(argv);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("Usage:");
  });

  test("for a policy that cannot be read as one", async () => {
    const bad = [
      "snp: [",
      "other: 1",
      "snp: {debugAllowed: true}",
      "[]",
      "snp: {x: 1, x: 2}",
      "a: &a [1]\nsnp: *a",
    ];
    for (const [index, text] of [...bad, `#${"x".repeat(70_000)}`].entries()) {
      await writeFile(path(`bad-${index}`), text);
      const { code, err } = await run([...whole, "--policy", path(`bad-${index}`)]);
      expect(code).toBe(2);
      expect(err).toMatch(/policy/i);
    }
  });
});
