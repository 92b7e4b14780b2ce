// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { parsePolicyFile } from "#evidence/policy/file.ts";
import { expectedRtmrs } from "#evidence/tdx/expected.ts";
import { bootFactsOf, REQUIRED_PCRS } from "#evidence/tpm/expected.ts";
import { RECORDED } from "#evidence/tpm/recorded-boot.ts";
import { writePe } from "#evidence/tpm/specimen.ts";
import { BASE_COMMAND_LINE, commandLine, FILE_NAMES } from "#images/metadata.ts";
import { printedBy } from "#testing/printed.ts";
import { measureCommand } from "./measure.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const LAUNCH = "1".repeat(64);
const image = writePe({
  ".text": bytesOf("stub"),
  ".sbat": bytesOf("sbat,1"),
  ".sdmagic": bytesOf("#### LoaderInfo: systemd-stub 257.13-1 ####"),
  ".linux": writePe({ ".text": bytesOf("kernel") }),
  ".initrd": bytesOf("initramfs"),
});
const metadata = {
  v: 1,
  name: "base",
  version: "1.0.0",
  files: Object.fromEntries(FILE_NAMES.map((name) => [name, { sha256: "0".repeat(64), sizeBytes: 1 }])),
  root: { hash: "a".repeat(64), blocks: 10 },
  boot: { commandLine: BASE_COMMAND_LINE, ...(await bootFactsOf(image)) },
};
const line = commandLine(metadata as never, LAUNCH);
let folder = "";
const path = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "casemate-measure-"));
  await writeFile(path("image.efi"), image);
  await writeFile(path("image.json"), JSON.stringify(metadata));
});
afterAll(() => rm(folder, { recursive: true }));

const run = (argv: string[]) => printedBy((printer) => measureCommand(argv, printer));

test("an image and what is known of it come to the same registers, in the form of a policy", async () => {
  const fromImage = await run([path("image.efi"), "--command-line", line]);
  const fromMetadata = await run([path("image.json"), "--launch", LAUNCH]);
  expect(fromImage).toEqual({ code: 0, out: expect.any(String), err: "" });
  expect(fromMetadata.out).toBe(fromImage.out);
  const read = parsePolicyFile(parse(fromImage.out));
  expect(read.ok && [...read.policy.tpm!.pcrs.keys()]).toEqual([...REQUIRED_PCRS]);
  expect(JSON.parse((await run([path("image.json"), "--launch", LAUNCH, "--json"])).out)).toEqual(
    parse(fromImage.out),
  );
  const other = await run([path("image.json"), "--launch", "2".repeat(64)]);
  expect(other.out).not.toBe(fromImage.out);
});

test("what is printed of TDX is what is computed of the image, and accepts nothing until somebody says which firmware", async () => {
  const { out } = await run([path("image.json"), "--launch", LAUNCH]);
  const rtmrs = (await expectedRtmrs(metadata.boot, line))!;
  expect(parse(out).tdx).toEqual({ rtmrs: { 1: [rtmrs[1]], 2: [rtmrs[2]], 3: [rtmrs[3]] } });
  const read = parsePolicyFile(parse(out));
  expect(read.ok && [read.policy.tdx!.mrTds, read.policy.tdx!.rtmrs[0]]).toEqual([[], undefined]);
});

test("an image from before its hashes of SHA-384 were kept has registers of a TPM and no others", async () => {
  await writeFile(
    path("older.json"),
    JSON.stringify({
      ...metadata,
      boot: { ...metadata.boot, ...RECORDED.boot, kernelAuthenticodeSha384: undefined },
    }),
  );
  const { code, out } = await run([path("older.json"), "--launch", LAUNCH, "--json"]);
  expect([code, Object.keys(JSON.parse(out))]).toEqual([0, ["tpm"]]);
  await writeFile(path("compose.yaml"), "services:\n  api:\n    image: caddy:2\n");
  const argv = (image: string) => [
    ...[
      path("compose.yaml"),
      "--image",
      path(image),
      "--domain",
      "a.example",
      "--service",
      "api",
      "--port",
      "80",
    ],
  ];
  const measured = async (image: string) => JSON.parse((await run([...argv(image), "--json"])).out);
  expect(Object.keys((await measured("older.json")).policy)).toEqual(["tpm"]);
  const { policy, launchSha256 } = await measured("image.json");
  expect(policy.tdx.mrConfigIds).toEqual([launchSha256 + "00".repeat(16)]);
  expect(Object.keys(policy.tdx.rtmrs)).toEqual(["1", "2", "3"]);
});

test("what was recorded of a boot is what is computed for its image", async () => {
  await writeFile(
    path("recorded.json"),
    JSON.stringify({ ...metadata, boot: { ...metadata.boot, ...RECORDED.boot } }),
  );
  const { out } = await run([path("recorded.json"), "--launch", LAUNCH, "--json"]);
  const { pcrs } = JSON.parse(out).tpm;
  // The line is another one; the image is the same.
  expect([pcrs["4"], pcrs["11"]]).toEqual([[RECORDED.pcrs["4"]], [RECORDED.pcrs["11"]]]);
  expect(pcrs["12"]).not.toEqual([RECORDED.pcrs["12"]]);
});

describe("exit code 1 and nothing on stdout", () => {
  test.each<[string, () => string[]]>([
    ["for an image that is none", () => [path("image.json"), "--command-line", line]],
    ["for metadata that are none", () => [path("image.efi"), "--launch", LAUNCH]],
    ["for a line that would not stay itself", () => [path("image.efi"), "--command-line", `${line} `]],
  ])("%s", async (_name, argv) => {
    const { code, out, err } = await run(argv());
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(err).toContain("cannot be measured");
  });

  test("for metadata without hashes", async () => {
    await writeFile(path("bare.json"), JSON.stringify({ ...metadata, boot: { commandLine: "quiet" } }));
    expect((await run([path("bare.json"), "--launch", LAUNCH])).code).toBe(1);
    await writeFile(path("compose.yaml"), "services:\n  api:\n    image: caddy:2\n");
    for (const uki of [undefined, null, {}, { sections: [null] }]) {
      await writeFile(
        path("bare.json"),
        JSON.stringify({ ...metadata, boot: { commandLine: "quiet", uki } }),
      );
      const argv = [path("compose.yaml"), "--image", path("bare.json"), "--domain", "a.example"];
      const { code, err } = await run([...argv, "--service", "api", "--port", "80"]);
      expect([code, err]).toEqual([1, expect.stringContaining("cannot be measured")]);
    }
  });
});

describe("exit code 2, with the usage and nothing on stdout,", () => {
  test.each<[string, () => string[]]>([
    ["without an image", () => ["--launch", LAUNCH]],
    ["without a line", () => [path("image.efi")]],
    ["with both", () => [path("image.efi"), "--launch", LAUNCH, "--command-line", line]],
    ["for a hash that is none", () => [path("image.json"), "--launch", "00"]],
    ["for a file that is not there", () => ["/nonexistent", "--launch", LAUNCH]],
    ["for a device", () => ["/dev/zero", "--launch", LAUNCH]],
    ["for an unknown option", () => [path("image.efi"), "--quick"]],
  ])("%s", async (_name, argv) => {
    const { code, out, err } = await run(argv());
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("Usage:");
  });
});
