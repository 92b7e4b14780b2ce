// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from "node:child_process";
import { createHash, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toBase64Text } from "#evidence/proofs/encoding.ts";
import { fingerprintOf } from "#evidence/proofs/issuer-manifest.ts";
import { openRelease, signRelease } from "#evidence/release/statement.ts";
import { printedBy } from "#testing/printed.ts";
import { releaseCommand } from "./release.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "casemate-release-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);
const run = (...argv: string[]) =>
  printedBy((printer) => releaseCommand(argv, { ...printer, nowMs: () => Date.UTC(2026, 10, 24) }));

const pair = generateKeyPairSync("ed25519");
const spki = pair.publicKey.export({ format: "der", type: "spki" });
const pin = fingerprintOf(spki);
const files = { "casemate-0.1.0.tar": "archive", "casemate-0.1.0.cdx.json": "{}" };
const FACTS = {
  ...{ version: "0.1.0", commit: "a".repeat(40), locks: [], tools: {} },
  ...{ startedAt: "2026-11-24T00:00:00Z", finishedAt: "2026-11-24T00:00:00Z" },
  files: Object.entries(files).map(([name, text]) => ({
    name,
    sha256: createHash("sha256").update(text).digest("hex"),
  })),
};
const signed = (facts: Parameters<typeof signRelease>[0]) =>
  JSON.stringify(signRelease(facts, spki, (message) => sign(null, message, pair.privateKey)));

beforeAll(() => {
  mkdirSync(path("good"));
  for (const [name, text] of Object.entries(files)) writeFileSync(path(`good/${name}`), text);
  writeFileSync(path("good/release-key.pub"), `${toBase64Text(spki)}\n`);
  writeFileSync(path("good/provenance.intoto.json"), signed(FACTS));
  writeFileSync(path("key.pem"), pair.privateKey.export({ format: "pem", type: "pkcs8" }), { mode: 0o600 });
});

test("files that the pinned key signed are accepted, with the commit they were made of", async () => {
  const { code, out } = await run("verify", path("good"), "--key", pin);
  expect([code, out]).toEqual([
    0,
    `ok   casemate-0.1.0.tar\nok   casemate-0.1.0.cdx.json\nThis is casemate 0.1.0, made of commit ${"a".repeat(40)}.\n`,
  ]);
});

describe("is refused", () => {
  let made = 0;
  async function changed(change: (at: string) => void, key = pin) {
    const at = path(`changed-${++made}`);
    cpSync(path("good"), at, { recursive: true });
    change(at);
    const { code, out } = await run("verify", at, "--key", key, "--json");
    const { valid, failure } = JSON.parse(out);
    expect([code, valid]).toEqual([1, false]);
    return failure;
  }

  test("a file that was changed, is gone, or leads elsewhere", async () => {
    const name = "casemate-0.1.0.tar";
    expect(await changed((at) => writeFileSync(join(at, name), "Archive"))).toBe("file_mismatch");
    expect(await changed((at) => rmSync(join(at, name)))).toBe("file_mismatch");
    const elsewhere = await changed((at) => {
      rmSync(join(at, name));
      symlinkSync(path(`good/${name}`), join(at, name));
    });
    expect(elsewhere).toBe("file_mismatch");
  });

  test("another key, in the folder or in the pin", async () => {
    const other = generateKeyPairSync("ed25519");
    const others = createPublicKey(other.privateKey).export({ format: "der", type: "spki" });
    const theirs = (at: string) => writeFileSync(join(at, "release-key.pub"), toBase64Text(others));
    expect(await changed(theirs)).toBe("key_mismatch");
    expect(await changed(theirs, fingerprintOf(others))).toBe("signature_invalid");
    expect(await changed(() => {}, fingerprintOf(others))).toBe("key_mismatch");
  });

  test.each<[string, Partial<typeof FACTS>]>([
    ["that names a file of another folder", { files: [{ name: "../good", sha256: "0".repeat(64) }] }],
    ["that names a file twice", { files: [FACTS.files[0]!, { ...FACTS.files[0]!, sha256: "0".repeat(64) }] }],
    ["of no file", { files: [] }],
    ["of a file without a hash", { files: [{ name: "a", sha256: "" }] }],
    ["of no commit", { commit: "main" }],
  ])("a statement %s, though it is signed", (_name, facts) => {
    expect(openRelease(signed({ ...FACTS, ...facts }), spki)).toBe("statement_malformed");
  });
});

// Out of an archive there is no commit to make one of.
test.skipIf(!existsSync(join(ROOT, ".git")))(
  "a release is the commit's own archive, its bill of materials, and what is said of them",
  async () => {
    // A clone of its own: what lies uncommitted beside this test is no part of any release.
    const clone = path("clone");
    execFileSync("git", ["clone", "-q", "--no-hardlinks", ROOT, clone]);
    symlinkSync(join(ROOT, "node_modules"), join(clone, "node_modules"));
    writeFileSync(join(clone, ".git/info/exclude"), "node_modules\n");
    const command = (...argv: string[]) =>
      execFileSync(process.execPath, [join(clone, "cli/main.ts"), "release", ...argv], { encoding: "utf8" });
    const commit = execFileSync("git", ["-C", clone, "rev-parse", "HEAD"], { encoding: "utf8" }).trim();
    const made = JSON.parse(command("make", "--key", path("key.pem"), "--out", path("one"), "--json"));
    expect(made).toMatchObject({ commit, key: pin, version: "0.1.0" });
    expect(JSON.parse(command("verify", path("one"), "--key", pin, "--json"))).toMatchObject({
      valid: true,
      commit,
    });
    const tar = execFileSync("git", ["-C", clone, "archive", "--prefix=casemate-0.1.0/", commit], {
      maxBuffer: 2 ** 30,
    });
    expect(readFileSync(path("one/casemate-0.1.0.tar")).equals(tar)).toBe(true);
    expect(JSON.parse(readFileSync(path("one/casemate-0.1.0.cdx.json"), "utf8")).bomFormat).toBe("CycloneDX");
    const again = JSON.parse(command("make", "--key", path("key.pem"), "--out", path("two"), "--json"));
    expect(again.files).toEqual(made.files);
    expect(() => command("make", "--key", path("key.pem"), "--out", path("one"))).toThrow(/is not empty/);
    writeFileSync(join(clone, "README.md"), "changed\n");
    expect(() => command("make", "--key", path("key.pem"), "--out", path("three"))).toThrow(/not committed/);
  },
  120_000,
);

test("what is no key is refused and not repeated", async () => {
  writeFileSync(path("no-key"), "-----BEGIN PRIVATE KEY-----\nsecret words\n-----END PRIVATE KEY-----\n");
  const { code, err } = await run("make", "--key", path("no-key"), "--out", path("out"));
  expect([code, err.includes("secret words")]).toEqual([2, false]);
  expect((await run("verify", path("good"))).code).toBe(2);
  expect((await run("verify", path("good"), "--key", "sha256:00")).code).toBe(2);
  expect((await run("publish")).code).toBe(2);
});
