// SPDX-License-Identifier: Apache-2.0
/**
 * The page and `casemate verify-proof` say the same of the same files. The page's half runs as a browser runs it: as
 * bundled, with the browser's primitives, in a process in which no text may become code.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { globSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { verifyProofCommand } from "#cli/verify-proof.ts";
import { proofEntry } from "#evidence/log/entry.ts";
import { makeLog } from "#evidence/log/specimen.ts";
import { makeKey, makeSpecimen } from "#evidence/proofs/specimen.ts";
import { verifyProof } from "#evidence/proofs/verify.ts";
import { printedBy } from "#testing/printed.ts";
import { describeWith } from "#testing/requirements.ts";
import { auditProofs, proofsFolder } from "#testing/vectors.ts";
import { bundle } from "./build.ts";
import type { Judgement } from "./judge.ts";

type Files = Record<string, Uint8Array | string>;
const HERE = new URL(".", import.meta.url).pathname;
let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "casemate-verify-page-"));
  const entry = join(folder, "entry.ts");
  await writeFile(
    entry,
    `export { judge } from "${HERE}judge.ts";\nexport { sortFiles } from "${HERE}files.ts";\n`,
  );
  await writeFile(join(folder, "bundle.mjs"), (await bundle(entry, "esm")).code);
  await writeFile(join(folder, "run.mjs"), RUN);
});
afterAll(() => rm(folder, { recursive: true }));

const RUN = `
import { readFileSync } from "node:fs";
import { judge, sortFiles } from "./bundle.mjs";
try { new Function("return 1")(); process.exit(9); } catch {}
const cases = JSON.parse(readFileSync(process.argv[2], "utf8"));
const bytes = (text) => Uint8Array.from(Buffer.from(text, "base64"));
process.stdout.write(JSON.stringify(cases.map(({ files, pin }) =>
  judge(sortFiles(files.map(({ name, base64 }) => ({ name, bytes: bytes(base64) }))), pin))));
`;

/** What the page says of each set of files. */
async function inPage(cases: { files: Files; pin?: string }[]): Promise<Judgement[]> {
  const path = join(folder, `cases-${crypto.randomUUID()}.json`);
  const encoded = cases.map(({ files, pin = "" }) => ({
    files: Object.entries(files).map(([name, bytes]) => ({
      name,
      base64: Buffer.from(bytes).toString("base64"),
    })),
    pin,
  }));
  await writeFile(path, JSON.stringify(encoded));
  const child = spawn(
    process.execPath,
    ["--disallow-code-generation-from-strings", join(folder, "run.mjs"), path],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const parts: Buffer[] = [];
  child.stdout.on("data", (part: Buffer) => parts.push(part));
  const [code] = await once(child, "close");
  expect(code).toBe(0);
  return JSON.parse(Buffer.concat(parts).toString());
}

const STANDINGS = ["holds", "fails", "usage", "cannot be checked"];

async function onCommandLine(files: Files, options: string[]) {
  const own = await mkdtemp(join(folder, "files-"));
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(own, name), bytes);
  const argv = options.map((option) => (Object.hasOwn(files, option) ? join(own, option) : option));
  const { code, out } = await printedBy((printer) =>
    verifyProofCommand([...argv, "--json"], { ...printer, stdin: (async function* () {})() }),
  );
  return { standing: STANDINGS[code], verdict: out === "" ? null : JSON.parse(out) };
}

const specimen = makeSpecimen();
const incomplete = makeSpecimen((parts) => {
  const changed = structuredClone(parts);
  changed.steps[0].ok = false;
  changed.steps[0].measured.tasks_found = 2;
  return changed;
});
const text = new TextDecoder().decode(specimen.bytes);
const issuers = JSON.stringify([specimen.issuer]);
const impostor = JSON.stringify({ ...specimen.issuer, publicKey: makeKey().text });
const log = makeLog();
const entries = [Buffer.from("another"), proofEntry(specimen.cdp), Buffer.from("a third")];
const logged = { checkpoint: log.checkpoint(entries), inclusion: JSON.stringify(log.inclusion(entries, 1)) };
const forked = log.checkpoint([...entries.slice(0, 2), Buffer.from("a fork")]);
const elsewhere = JSON.stringify(log.inclusion(entries, 0));
const LOGGED = ["--checkpoint", "checkpoint", "--inclusion", "inclusion"];
const answer = `{"session_id":"x","cdp":${text},"salt":"${specimen.saltHex}"}`;

test.each<[string, Files, string[]]>([
  ["a proof", { proof: specimen.bytes }, []],
  ["the answer that carries it", { proof: answer }, []],
  ["a proof and its issuer", { proof: specimen.bytes, issuers }, ["--issuer-file", "issuers"]],
  ["an impostor", { proof: specimen.bytes, issuers: impostor }, ["--issuer-file", "issuers"]],
  [
    "a proof in the log",
    { proof: specimen.bytes, issuers, ...logged },
    ["--issuer-file", "issuers", ...LOGGED],
  ],
  ["no issuer, but a log", { proof: specimen.bytes, ...logged }, LOGGED],
  [
    "half of what the log takes",
    { proof: specimen.bytes, issuers, checkpoint: logged.checkpoint },
    [...["--issuer-file", "issuers", "--checkpoint", "checkpoint"]],
  ],
  [
    "another tree of the same size",
    { proof: specimen.bytes, issuers, ...logged, checkpoint: forked },
    ["--issuer-file", "issuers", ...LOGGED],
  ],
  [
    "another's place in the log",
    { proof: specimen.bytes, issuers, ...logged, inclusion: elsewhere },
    ["--issuer-file", "issuers", ...LOGGED],
  ],
  ["a proof that says it is not complete", { proof: incomplete.bytes }, []],
  ["a changed word", { proof: text.replace('"PHI"', '"PII"') }, []],
  [
    "a changed word, with an issuer",
    { proof: text.replace('"PHI"', '"PII"'), issuers },
    ["--issuer-file", "issuers"],
  ],
  ["garbage", { proof: Buffer.from("\u0000\u0001 no JSON") }, []],
  ["nothing", { proof: "" }, []],
  ["a list", { proof: "[]" }, []],
  ["an object of nothing", { proof: "{}" }, []],
  ["a member named twice", { proof: text.replace("{", '{"cdp_version":"1.0",') }, []],
  ["a huge file", { proof: Buffer.alloc(5_000_000, "[") }, []],
  ["a huge file of a proof and spaces", { proof: `${text}${" ".repeat(300_000)}` }, []],
  ["a member too many", { proof: text.replace("{", '{"extra":1,') }, []],
  ["another profile", { proof: text.replace('"casemate-cdp/1"', '"casemate-cdp/9"') }, []],
  ["no profile", { proof: JSON.stringify({ ...JSON.parse(text), profile: undefined }) }, []],
])("of %s", async (_name, files, options) => {
  const [page] = await inPage([{ files }]);
  const command = await onCommandLine(files, ["proof", ...options]);
  expect(page!.standing).toBe(command.standing);
  // Where the command stops, the page goes on as far as it can and says that it stopped short.
  if (command.verdict !== null) expect(page!.verdict).toEqual(command.verdict);
  const failed = page!.rows.filter(({ status }) => status === "failed");
  expect(failed.length > 0).toBe(page!.standing === "fails");
});

test("of a proof with any member changed", async () => {
  const copies: string[] = [];
  const walk = (value: unknown, put: (other: unknown) => unknown): void => {
    if (typeof value === "object" && value !== null) {
      for (const [name, inner] of Object.entries(value))
        walk(inner, (other) => {
          const copy = structuredClone(value) as Record<string, unknown>;
          copy[name] = other;
          return put(copy);
        });
      return;
    }
    const turned =
      typeof value === "string" ? value.replace(/.$/, (last) => (last === "0" ? "1" : "0")) : null;
    for (const other of [turned, 0, "", !value, null])
      if (other !== value) copies.push(JSON.stringify(put(other)));
  };
  walk(JSON.parse(text), (whole) => whole);
  expect(copies.length).toBeGreaterThan(800);
  const pages = await inPage(copies.map((proof) => ({ files: { proof, issuers } })));
  for (const [index, page] of pages.entries()) {
    // A profile that is gone leads to another format's rules, which the command line tells apart.
    if (!("level" in page.verdict!)) continue;
    expect(page.verdict, copies[index]!).toEqual(
      verifyProof(Buffer.from(copies[index]!), { issuers: [specimen.issuer], level: 2 }),
    );
    expect(page.standing).toBe("fails");
  }
});

test("a key that the issuer is known by under the same id is compared, and needs the issuer", async () => {
  const { key_id } = specimen.cdp.attestation;
  const document = (public_key: string) => JSON.stringify({ key_id, algorithm: "Ed25519", public_key });
  const key = document(specimen.cdp.attestation.public_key);
  const [same, other, alone] = await inPage([
    { files: { proof: text, issuers, key } },
    { files: { proof: text, issuers, key: document(makeKey().text) } },
    { files: { proof: text, key } },
  ]);
  expect([same!.standing, same!.notes]).toEqual(["holds", []]);
  expect(other!.failures.map(({ code }) => code)).toEqual(["known_key_mismatch"]);
  expect([alone!.standing, alone!.notes.length]).toEqual(["holds", 1]);
  expect(alone!.headline).toBe("The proof holds at level 1.");
});

describeWith([auditProofs], "of the public corpus of AuditProofs", () => {
  test("every document, with the demands that it comes with", async () => {
    const names = globSync("corpus/**/*.expected.json", { cwd: proofsFolder });
    const cases = names.map((name) => {
      const { policy, note: _, ...expected } = JSON.parse(readFileSync(join(proofsFolder, name), "utf8"));
      const files: Files = {
        proof: readFileSync(join(proofsFolder, name.replace(".expected.json", ".json"))),
      };
      if (Object.keys(policy ?? {}).length > 0) files.policy = JSON.stringify(policy);
      return { name, files, expected };
    });
    expect(cases.length).toBeGreaterThanOrEqual(57);
    const pages = await inPage(cases);
    for (const [index, { name, files, expected }] of cases.entries()) {
      const page = pages[index]!;
      const options = files.policy === undefined ? [] : ["--policy", "policy"];
      const command = await onCommandLine(files, ["proof", ...options]);
      expect(page.verdict, name).toEqual(expected);
      expect([page.standing, page.verdict], name).toEqual([command.standing, command.verdict]);
      expect(
        page.rows.some(({ status }) => status === "failed"),
        name,
      ).toBe(!expected.valid);
    }
  });

  test("trust chains and the pins they are held to", async () => {
    const json = (path: string) => JSON.parse(readFileSync(join(proofsFolder, path), "utf8"));
    const { cases } = json("derived/expected.json");
    for (const { manifest, pin, manifest_check, document, expected } of cases) {
      const files = {
        proof: readFileSync(join(proofsFolder, document ?? cases[0].document)),
        chain: readFileSync(join(proofsFolder, "derived", manifest)),
      };
      const [page] = await inPage([{ files, pin }]);
      expect(page!.verdict, manifest).toEqual(manifest_check === "ok" ? expected : null);
      if (manifest_check !== "ok") expect(page!.standing).toBe("cannot be checked");
    }
  });
});
