// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { imageEntry } from "#evidence/log/entry.ts";
import { makeLog } from "#evidence/log/specimen.ts";
import { sha256Hex } from "#evidence/proofs/primitives.ts";
import { printedBy } from "#testing/printed.ts";
import { logIncludesCommand } from "./log-includes.ts";

const log = makeLog();
const image = Buffer.from('{"name":"containers"}');
const sha256 = sha256Hex(image);
const before = ["one", "two", "three"].map((text) => Buffer.from(text));
const entries = [...before, imageEntry(sha256), Buffer.from("five")];
let folder = "";
const path = (name: string) => join(folder, name);
const run = (...argv: string[]) => printedBy((printer) => logIncludesCommand(argv, printer));

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "casemate-log-includes-"));
  await writeFile(path("image.json"), image);
  await writeFile(path("other.json"), '{"name":"other"}');
  await writeFile(path("now"), log.checkpoint(entries));
  await writeFile(path("older"), log.checkpoint(before));
  await writeFile(path("forked"), log.checkpoint(entries.with(0, Buffer.from("zero"))));
  await writeFile(path("shown"), JSON.stringify(log.inclusion(entries, 3)));
  await writeFile(path("since"), JSON.stringify(log.inclusion(entries, 3, 3)));
  await writeFile(path("malformed"), '{"origin":"example.org/specimen"}');
});
afterAll(() => rm(folder, { recursive: true }));

test("an image in the log is found there, also by who holds an older checkpoint", async () => {
  const held = await run(
    path("image.json"),
    "--checkpoint",
    path("now"),
    "--inclusion",
    path("shown"),
    "--log-key",
    log.key,
  );
  expect([held.code, held.out]).toEqual([
    0,
    `sha256:${sha256} is entry 3 of the log of which you hold a checkpoint.\n`,
  ]);
  const since = await run(
    path("image.json"),
    "--checkpoint",
    path("older"),
    "--inclusion",
    path("since"),
    "--json",
  );
  expect([since.code, JSON.parse(since.out)]).toEqual([
    0,
    { valid: true, sha256, index: 3, failures: [], seenAt: null },
  ]);
});

test.each([
  ["another image", "other.json", "now", "shown", "inclusion_invalid"],
  ["another log of the same size", "image.json", "forked", "shown", "log_forked"],
  ["a newer tree without what leads there", "image.json", "older", "shown", "consistency_missing"],
  ["what has no form", "image.json", "now", "malformed", "inclusion_malformed"],
])("%s is not shown to be in it", async (_name, file, held, shown, failure) => {
  const { code, out } = await run(path(file), "--checkpoint", path(held), "--inclusion", path(shown));
  expect(code).toBe(1);
  expect(out).toContain(`(${failure})`);
});

test("a key or witness that was pinned must have signed", async () => {
  const args = [path("image.json"), "--checkpoint", path("now"), "--inclusion", path("shown")];
  expect((await run(...args, "--log-key", makeLog().key)).out).toContain("(log_key_unknown)");
  expect((await run(...args, "--witness", log.key)).code).toBe(2);
  expect((await run(path("image.json"), "--checkpoint", path("now"))).code).toBe(2);
});
