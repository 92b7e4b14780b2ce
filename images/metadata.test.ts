// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { commandLine, type ImageMetadata, metadataText, parseMetadata } from "./metadata.ts";

const file = { sha256: "cd".repeat(32), sizeBytes: 4096, from: "a test" };
const METADATA: ImageMetadata = {
  ...{ v: 1, name: "base", version: "1.2.3", architecture: "amd64", suite: "trixie", epochS: 1 },
  inputs: { sha256: "", lock: "", recipe: "", agent: "" },
  files: { "root.img": file, "image.efi": file, kernel: file, initrd: file, "contents.json": file },
  root: { hash: "ef".repeat(32), salt: "", blocks: 12, blockBytes: 4096, algorithm: "sha256" },
  boot: {
    ...{ kernelRelease: "6", commandLine: "console=ttyS0 quiet" },
    uki: { authenticodeSha256: "", sections: [] },
    kernelAuthenticodeSha256: "",
  },
  added: [],
  packages: [],
};

test("the command line says the root hash, its size and the launch hash, each once, after the image's own words", () => {
  expect(commandLine(METADATA, "01".repeat(32))).toBe(
    `console=ttyS0 quiet casemate.root=${"ef".repeat(32)} casemate.blocks=12 casemate.launch=${"01".repeat(32)}`,
  );
});

test.each(["", "AB".repeat(32), `${"ab".repeat(32)} casemate.root=x`, "ab"])(
  "no command line is made of the launch hash %j",
  (launch) => expect(() => commandLine(METADATA, launch)).toThrow(/64 lower-case/),
);

test("what was written is read again", () => {
  expect(parseMetadata(metadataText(METADATA))).toEqual(METADATA);
});

test.each([
  ["{", /no JSON/],
  ["null", /v must be 1/],
  [{ v: 2 }, /v must be 1/],
  [{ name: "../up" }, /name is not one/],
  [{ version: "one" }, /version is not one/],
  [{ files: { ...METADATA.files, kernel: { ...file, sha256: "x" } } }, /files.kernel is not one/],
  [{ files: {} }, /files.root.img is not one/],
  [{ root: { ...METADATA.root, hash: "x" } }, /root.hash is not one/],
  [{ root: { ...METADATA.root, blocks: 2 ** 25 } }, /root.blocks is not one/],
  [{ boot: { ...METADATA.boot, commandLine: "x casemate.root=1" } }, /boot.commandLine has words of ours/],
])("metadata with a fault is refused, and the member is named: %j", (change, complaint) => {
  const text = typeof change === "string" ? change : JSON.stringify({ ...METADATA, ...change });
  expect(() => parseMetadata(text)).toThrow(complaint);
});
