// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { imagesOf, readUserConfig } from "./config.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-config-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const read = (given: object) => {
  const path = join(folder, "config.json");
  writeFileSync(path, JSON.stringify(given));
  return readUserConfig(path);
};

test("images are built unless the file says no, and the environment goes before the file", () => {
  const [silent, off] = [read({}), read({ images: { build: false, sources: "/etc/x" } })];
  expect(imagesOf(silent, {})).toEqual({ build: true, lockFolder: null, sources: null });
  expect(imagesOf(off, {})).toEqual({ build: false, lockFolder: null, sources: "/etc/x" });
  expect(imagesOf(off, { CASEMATE_IMAGES_BUILD: "true" }).build).toBe(true);
  expect(imagesOf(silent, { CASEMATE_IMAGES_BUILD: "false" }).build).toBe(false);
  expect(imagesOf(off, { CASEMATE_IMAGES_BUILD: "" }).build).toBe(false);
  expect(() => imagesOf(off, { CASEMATE_IMAGES_BUILD: "no" })).toThrow(/CASEMATE_IMAGES_BUILD must be/);
});

test.each([
  [{ images: { bulid: false } }, /no key images\.bulid/],
  [{ images: { build: "false" } }, /images\.build must be true or false/],
  [{ images: { sources: "sources.list" } }, /images\.sources must be an absolute path/],
  [{ images: { lockFolder: null } }, /images\.lockFolder must be an absolute path/],
  [{ image: {} }, /no key image/],
])("a file with a mistake in it is refused, and the member is named: %#", (given, complaint) => {
  expect(() => read(given)).toThrow(complaint);
});
