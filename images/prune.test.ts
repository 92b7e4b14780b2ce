// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { pruneImages } from "./prune.ts";
import { listImages } from "./store.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "casemate-prune-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("of images the last build and what is used stay, and of the others nothing", async () => {
  const used = await writeSpecimenImage(folder, "1.0.0", "used");
  const former = await writeSpecimenImage(folder, "1.0.0", "former");
  const last = await writeSpecimenImage(folder, "1.0.1", "last");
  const hashes = () => new Set(listImages(folder).map(({ metadataSha256 }) => metadataSha256));
  expect(pruneImages(folder, new Set([used.sha256])).map(({ metadataSha256 }) => metadataSha256)).toEqual([
    former.sha256,
  ]);
  expect(hashes()).toEqual(new Set([used.sha256, last.sha256]));
  expect(pruneImages(folder, new Set([used.sha256]))).toEqual([]);
  expect(pruneImages(folder, new Set()).map(({ folder: place }) => place)).toEqual([used.folder]);
  expect(hashes()).toEqual(new Set([last.sha256]));
  expect(readdirSync(folder)).toEqual(["containers"]);
  expect(readdirSync(join(folder, "containers"))).toHaveLength(2);
});
