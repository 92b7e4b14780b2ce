// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { proofEntry } from "#evidence/log/entry.ts";
import { makeLog } from "#evidence/log/specimen.ts";
import { makeKey, makeSpecimen } from "#evidence/proofs/specimen.ts";
import { printedBy } from "#testing/printed.ts";
import { verifyProofCommand } from "./verify-proof.ts";

const specimen = makeSpecimen();
const spoilt = new TextDecoder().decode(specimen.bytes).replace('"PHI"', '"PII"');
const issuer = `${specimen.issuer.issuerId}=${specimen.issuer.publicKey}`;
let folder = "";
const path = (name: string) => join(folder, name);
const log = makeLog();
const entries = [Buffer.from("another"), proofEntry(specimen.cdp), Buffer.from("a third")];
const logged: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "casemate-verify-proof-"));
  await writeFile(path("proof.json"), specimen.bytes);
  await writeFile(path("spoilt.json"), spoilt);
  await writeFile(path("issuer.json"), JSON.stringify(specimen.issuer));
  await writeFile(
    path("issuers.json"),
    JSON.stringify([{ ...specimen.issuer, issuerId: "other" }, specimen.issuer]),
  );
  await writeFile(path("broken.json"), "{");
  await writeFile(path("checkpoint"), log.checkpoint(entries));
  await writeFile(path("forked"), log.checkpoint([...entries.slice(0, 2), Buffer.from("a fork")]));
  await writeFile(path("inclusion.json"), JSON.stringify(log.inclusion(entries, 1)));
  logged.push("--checkpoint", path("checkpoint"), "--inclusion", path("inclusion.json"));
});
afterAll(() => rm(folder, { recursive: true }));

const run = (argv: string[], stdin: Uint8Array[] = []) =>
  printedBy((printer) =>
    verifyProofCommand(argv, {
      ...printer,
      stdin: (async function* () {
        yield* stdin;
      })(),
    }),
  );

describe("exit code 0", () => {
  test("says that the document is whole when no issuer is given, and that its origin is open", async () => {
    const { code, out } = await run([path("proof.json")]);
    expect(code).toBe(0);
    expect(out).toContain("The proof holds at level 1.");
    expect(out).toContain("(origin_unknown)");
  });

  test("says that a pinned issuer certified it when one is given, by argument or file", async () => {
    const bare = issuer.replace("base64:", "");
    for (const given of [
      ["--issuer", issuer],
      ["--issuer", bare],
      ["--issuer-file", path("issuer.json")],
      ["--issuer-file", path("issuers.json")],
    ]) {
      const { code, out } = await run([path("proof.json"), ...given]);
      expect(code).toBe(0);
      expect(out).toContain("ok   certificate");
      expect(out).toContain("The proof holds at level 2.");
    }
  });

  test("says that the proof is in the log when a checkpoint is held", async () => {
    const { code, out } = await run([
      ...[path("proof.json"), "--issuer", issuer, ...logged, "--log-key", log.key],
    ]);
    expect(out).toContain("ok   log");
    expect(out).toContain("The proof holds at level 3.");
    expect(code).toBe(0);
  });

  test("is given for a proof on stdin, in pieces", async () => {
    const pieces = [specimen.bytes.subarray(0, 1000), specimen.bytes.subarray(1000)];
    expect((await run(["-", "--json"], pieces)).code).toBe(0);
  });
});

describe("exit code 1", () => {
  test("names what failed", async () => {
    const { code, out } = await run([path("spoilt.json")]);
    expect(code).toBe(1);
    expect(out).toContain("FAIL chain");
    expect(out).toContain("(chain_hash_mismatch)");
    expect(out).toContain("The proof does not hold at level 1.");
  });

  test("is given when the pinned key is another, or the issuer is", async () => {
    const impostor = `${specimen.issuer.issuerId}=${makeKey().text}`;
    expect((await run([path("proof.json"), "--issuer", impostor])).code).toBe(1);
    expect((await run([path("proof.json"), "--issuer", `other=${makeKey().text}`])).code).toBe(1);
  });

  test("is given for level 3 when the log is another than the one of which the checkpoint is held", async () => {
    const { code, out } = await run([
      ...[path("proof.json"), "--issuer", issuer, "--inclusion", path("inclusion.json")],
      ...["--checkpoint", path("forked")],
    ]);
    expect(code).toBe(1);
    expect(out).toContain("ok   inclusion");
    expect(out).toContain("FAIL log");
    expect(out).toContain("(log_forked)");
    const other = await run([path("proof.json"), "--issuer", issuer, ...logged, "--log-key", makeLog().key]);
    expect(other.code).toBe(1);
    expect(other.out).toContain("(log_key_unknown)");
  });

  test("is given for what is no proof at all, also without an end", async () => {
    expect((await run([path("broken.json")])).code).toBe(1);
    const endless = Array.from({ length: 10 }, () => new Uint8Array(100_000));
    const { code, out } = await run(["-"], endless);
    expect(code).toBe(1);
    expect(out).toContain("(too_large)");
    expect((await run(["/dev/zero"])).code).toBe(1);
  });
});

describe("exit code 2", () => {
  test.each([
    ["no file", []],
    ["two files", ["a", "b"]],
    ["a file that is not there", ["/nonexistent/proof.json"]],
    ["an unknown option", ["-", "--quick"]],
    ["a level that does not exist", ["-", "--level", "4"]],
    ["a level that is no number", ["-", "--level", ""]],
    ["an issuer without a key", ["-", "--issuer", "me"]],
    ["an issuer with a mistyped key", ["-", "--issuer", "me=AAAA"]],
  ])("is given for %s, with the usage", async (_name, argv) => {
    const { code, out, err } = await run(argv);
    expect(code).toBe(2);
    expect(out).toBe("");
    expect(err).toContain("Usage:");
  });

  test("is given for an issuer file that holds no issuer", async () => {
    expect((await run(["-", "--issuer-file", path("broken.json")])).code).toBe(2);
    expect((await run(["-", "--issuer-file", path("proof.json")])).code).toBe(2);
  });
});

describe("exit code 3", () => {
  test("is given for level 2 without a pinned issuer, and for level 3 without that, a checkpoint or a place in the log", async () => {
    expect((await run([path("proof.json"), "--level", "2"])).code).toBe(3);
    const at3 = (...more: string[]) => run([path("proof.json"), "--level", "3", ...more]);
    expect((await at3("--issuer", issuer)).code).toBe(3);
    expect((await at3("--issuer", issuer, "--checkpoint", path("checkpoint"))).code).toBe(3);
    expect((await at3("--issuer", issuer, "--inclusion", path("inclusion.json"))).code).toBe(3);
    expect((await at3(...logged)).code).toBe(3);
  });
});

test("--json prints the verdict and nothing else", async () => {
  const { out } = await run([path("proof.json"), "--json", "--issuer", issuer]);
  expect(JSON.parse(out)).toMatchObject({ valid: true, level: 2, outcome: "complete", failures: [] });
});

test("the file runs by itself", () => {
  const command = fileURLToPath(new URL("./verify-proof.ts", import.meta.url));
  const { status, stdout } = spawnSync(process.execPath, [command, "-", "--json"], { input: specimen.bytes });
  expect(status).toBe(0);
  expect(JSON.parse(stdout.toString()).level).toBe(1);
});
