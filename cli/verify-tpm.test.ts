// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hexOf } from "#evidence/bytes.ts";
import { REQUIRED_PCRS } from "#evidence/tpm/expected.ts";
import { RECORDED } from "#evidence/tpm/recorded-boot.ts";
import { makeTpm } from "#evidence/tpm/specimen.ts";
import { printedBy } from "#testing/printed.ts";
import { verifyTpmCommand } from "./verify-tpm.ts";

const NONCE = new Uint8Array(32).fill(7);
let folder = "";
const path = (name: string) => join(folder, name);
const whole = () => ["--quote", path("quote"), "--signature", path("signature"), "--key", path("key")];

/** A quote of the registers of a boot that was recorded, by a TPM made here. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "casemate-verify-tpm-"));
  const tpm = makeTpm();
  const values = REQUIRED_PCRS.map((pcr) => Uint8Array.from(Buffer.from(RECORDED.pcrs[pcr]!, "hex")));
  const { quote, signature } = tpm.quote({ extraData: NONCE, values });
  await writeFile(path("quote"), quote);
  await writeFile(path("signature"), signature);
  await writeFile(path("key"), tpm.key);
  await writeFile(path("log"), Buffer.from(RECORDED.eventLog, "base64"));
});
afterAll(() => rm(folder, { recursive: true }));

const run = (argv: string[]) =>
  printedBy((printer) => verifyTpmCommand(argv, { ...printer, nowMs: () => 0 }));

describe("a quote of a recorded boot", () => {
  test("is accepted with exit 0, from its log and from its registers, and never called hardware", async () => {
    const registers = REQUIRED_PCRS.flatMap((pcr) => ["--pcr", `${pcr}=${RECORDED.pcrs[pcr]}`]);
    for (const more of [["--event-log", path("log")], registers]) {
      const { code, out } = await run([...whole(), ...more, "--nonce", hexOf(NONCE), "--json"]);
      expect(code).toBe(0);
      expect(JSON.parse(out)).toMatchObject({
        accepted: true,
        hardware: false,
        pcrs: { 12: RECORDED.pcrs[12] },
      });
    }
  });

  test("is held to a policy, in which each register counts", async () => {
    const { out } = await run([...whole(), "--event-log", path("log"), "--json"]);
    const policy = { keys: [JSON.parse(out).keyName], pcrs: {} as Record<string, string[]> };
    for (const pcr of REQUIRED_PCRS) policy.pcrs[pcr] = [RECORDED.pcrs[pcr]!];
    await writeFile(path("good.json"), JSON.stringify({ tpm: policy }));
    const asked = [...whole(), "--event-log", path("log"), "--policy"];
    expect((await run([...asked, path("good.json")])).code).toBe(0);
    policy.pcrs["12"] = ["00".repeat(32)];
    await writeFile(path("other.json"), JSON.stringify({ tpm: policy }));
    const refused = await run([...asked, path("other.json")]);
    expect(refused.code).toBe(1);
    expect(refused.out).toContain("FAIL pcr12");
    expect(refused.out).toContain("ok   pcr4");
    expect(refused.out).toContain("The quote is refused.");
  });

  test("is refused with exit 1 for another nonce, another key, and without log and registers", async () => {
    const log = ["--event-log", path("log")];
    expect((await run([...whole(), ...log, "--nonce", "00"])).out).toContain("FAIL nonce");
    expect((await run([...whole(), ...log, "--key-name", "00".repeat(34)])).out).toContain("FAIL key-known");
    expect((await run(whole())).out).toContain("FAIL pcrs");
    const other = [...whole(), ...log];
    other[1] = path("log");
    expect((await run(other)).code).toBe(1);
  });

  test("runs as casemate attest verify-tpm", () => {
    const root = fileURLToPath(new URL("..", import.meta.url));
    const argv = ["cli/main.ts", "attest", "verify-tpm", ...whole(), "--event-log", path("log"), "--json"];
    const { status, stdout } = spawnSync(process.execPath, argv, { cwd: root, encoding: "utf8" });
    expect(status).toBe(0);
    expect(JSON.parse(stdout).accepted).toBe(true);
  });
});

describe("exit code 2, with the usage and nothing on stdout,", () => {
  test.each<[string, string[]]>([
    ["without arguments", []],
    ["without a key", ["--quote", "/dev/null", "--signature", "/dev/null"]],
    ["for a register that there is not", [...NULLS(), "--pcr", `24=${"00".repeat(32)}`]],
    ["for a register twice", [...NULLS(), "--pcr", `4=${"00".repeat(32)}`, "--pcr", `4=${"00".repeat(32)}`]],
    ["for a value that is too short", [...NULLS(), "--pcr", "4=00"]],
    ["for a nonce that is none", [...NULLS(), "--nonce", "x"]],
    ["for a name of a key that is none", [...NULLS(), "--key-name", "00"]],
    [
      "for a file that is not there",
      ["--quote", "/nonexistent", "--signature", "/dev/null", "--key", "/dev/null"],
    ],
    ["for an unknown option", [...NULLS(), "--quick"]],
  ])("%s", async (_name, argv) => {
    const { code, out, err } = await run(argv);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("Usage:");
  });

  function NULLS(): string[] {
    return ["--quote", "/dev/null", "--signature", "/dev/null", "--key", "/dev/null"];
  }
});
