// SPDX-License-Identifier: Apache-2.0
/** A guest image that is one by its metadata, in a folder as images are kept in: for tests that start nothing from it. */
import { hash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bootFactsOf } from "#evidence/tpm/expected.ts";
import { writePe } from "#evidence/tpm/specimen.ts";
import {
  BASE_COMMAND_LINE,
  FILE_NAMES,
  type ImageMetadata,
  metadataSha256,
  metadataText,
} from "#images/metadata.ts";
import { folderOf, METADATA_FILE, makeCurrent } from "#images/store.ts";

/** @param words What makes it another image than others. */
export async function writeSpecimenImage(
  folder: string,
  version: string,
  words = "one",
  name = "containers",
) {
  const bytes = (text: string) => Buffer.from(`${text} of ${words}`);
  const kernel = writePe({ ".text": bytes("kernel") });
  const stub = {
    ".sbat": bytes("sbat"),
    ".sdmagic": Buffer.from("#### LoaderInfo: systemd-stub 257.1 ####"),
  };
  const uki = writePe({ ...stub, ".linux": kernel, ".initrd": bytes("initrd") });
  const inputs = hash("sha256", `inputs of ${words}`);
  const file = { sha256: hash("sha256", words), sizeBytes: words.length, from: "a test" };
  const metadata: ImageMetadata = {
    ...{ v: 1, name, version, architecture: "amd64", suite: "trixie", epochS: 0 },
    inputs: { sha256: inputs, lock: inputs, recipe: inputs, agent: inputs },
    files: Object.fromEntries(FILE_NAMES.map((name) => [name, file])) as ImageMetadata["files"],
    root: {
      hash: hash("sha256", `root of ${words}`),
      salt: "0".repeat(64),
      blocks: 1,
      blockBytes: 4096,
      algorithm: "sha256",
    },
    boot: { ...(await bootFactsOf(uki)), kernelRelease: "6", commandLine: BASE_COMMAND_LINE },
    added: [],
    packages: [],
  };
  const text = metadataText(metadata);
  const place = folderOf(folder, metadata.name, inputs);
  mkdirSync(place, { recursive: true });
  for (const name of FILE_NAMES) writeFileSync(join(place, name), words);
  writeFileSync(join(place, METADATA_FILE), text);
  makeCurrent(place);
  return { metadata, sha256: metadataSha256(text), folder: place };
}
