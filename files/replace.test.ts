// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { replaceFile } from "./replace.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-replace-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("what is written is there whole, for its owner alone, and nothing lies beside it", async () => {
  const path = join(folder, "kept");
  await replaceFile(path, "first, and longer");
  await replaceFile(path, "second");
  expect(readFileSync(path, "utf8")).toBe("second");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder).filter((name) => name.startsWith("kept"))).toEqual(["kept"]);
});

test("what cannot take the old one's place leaves it, and no draft", async () => {
  const path = join(folder, "folder");
  mkdirSync(path);
  writeFileSync(join(path, "old"), "old");
  await expect(replaceFile(path, "new")).rejects.toThrow(/EISDIR|ENOTEMPTY/);
  expect(readFileSync(join(path, "old"), "utf8")).toBe("old");
  expect(readdirSync(folder).filter((name) => name.startsWith("folder"))).toEqual(["folder"]);
});
