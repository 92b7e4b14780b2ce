// SPDX-License-Identifier: Apache-2.0
/**
 * Registers that nobody here could read from hardware, held to a boot that was recorded: its log says what is measured and when, and
 * each event's bytes, known by their SHA-256 there, are hashed again as TDX hashes them.
 */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { rehashedBoot } from "#testing/rehashed-boot.ts";
import type { BootFacts } from "../tpm/boot-events.ts";
import { bootFactsOf } from "../tpm/expected.ts";
import { RECORDED } from "../tpm/recorded-boot.ts";
import { writePe } from "../tpm/specimen.ts";
import { TpmFault } from "../tpm/wire.ts";
import { bytesOf } from "../x509/specimen.ts";
import { expectedRtmrs } from "./expected.ts";

const kernel = writePe({ ".text": bytesOf("kernel") });
const MARK = bytesOf("#### LoaderInfo: systemd-stub 257.13-1 ####");
const stub = { ".text": bytesOf("stub"), ".sbat": bytesOf("sbat,1"), ".sdmagic": MARK };
const parts = { ".linux": kernel, ".initrd": bytesOf("initramfs") };
const image = writePe({ ...stub, ...parts });
const LINE = "quiet casemate.root=00 casemate.launch=11";
const sha = (algorithm: string, ...bytes: Uint8Array[]) => {
  const hash = createHash(algorithm);
  for (const one of bytes) hash.update(one);
  return hash.digest();
};
const utf16 = (line: string) => Buffer.from(`${line}\0`, "utf16le");

/** As the "PE Format" has it, for a file of `writePe` without signatures: all but its checksum and where signatures would be. */
const authenticode = (file: Uint8Array) => [
  ...[file.subarray(0, 0x58 + 64), file.subarray(0x58 + 68, 0x58 + 144), file.subarray(0x58 + 152)],
];

/** SHA-384 of what the recorded events are of, by their SHA-256, where the same part has the bytes of the other image. */
function partsByRecordedHash(): Map<string, Uint8Array> {
  const { uki, kernelAuthenticodeSha256 } = RECORDED.boot;
  const own: Record<string, Uint8Array> = { ...parts, ".sbat": stub[".sbat"] };
  return new Map<string, Uint8Array>([
    [uki.authenticodeSha256, sha("sha384", ...authenticode(image))],
    [kernelAuthenticodeSha256, sha("sha384", ...authenticode(kernel))],
    [sha("sha256", utf16(RECORDED.commandLine)).toString("hex"), sha("sha384", utf16(LINE))],
    ...uki.sections.flatMap(({ name, sha256 }): [string, Uint8Array][] => [
      [sha("sha256", bytesOf(`${name}\0`)).toString("hex"), sha("sha384", bytesOf(`${name}\0`))],
      [sha256, sha("sha384", own[name]!)],
    ]),
  ]);
}

test("the recorded boot's events, of another image and hashed anew, come to what is computed for that image", async () => {
  const log = Uint8Array.from(Buffer.from(RECORDED.eventLog, "base64"));
  const { rtmrs, order } = rehashedBoot(log, partsByRecordedHash());
  expect(order).toEqual([1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 1, 2, 2, 1, 1]);
  expect(await expectedRtmrs(await bootFactsOf(image), LINE)).toEqual(rtmrs);
  expect(rtmrs[3]).toBe("00".repeat(48));
});

describe("registers move with what they measure, and with nothing else", () => {
  const moved = async (boot: BootFacts, line = LINE) => {
    const before = await expectedRtmrs(await bootFactsOf(image), LINE);
    const after = await expectedRtmrs(boot, line);
    return ([1, 2, 3] as const).filter((register) => before![register] !== after![register]);
  };
  const other = (change: Record<string, Uint8Array>) =>
    bootFactsOf(writePe({ ...stub, ...parts, ...change }));

  test("nothing", async () => {
    expect(await moved(await bootFactsOf(image))).toEqual([]);
  });
  test("another root, another launch, and a word more", async () => {
    const boot = await bootFactsOf(image);
    for (const line of [LINE.replace("00", "01"), LINE.replace("11", "12"), `${LINE} init=/bin/sh`])
      expect(await moved(boot, line)).toEqual([2]);
  });
  test("another initramfs, and another kernel", async () => {
    expect(await moved(await other({ ".initrd": bytesOf("initramfS") }))).toEqual([1, 2]);
    expect(await moved(await other({ ".linux": writePe({ ".text": bytesOf("kernem") }) }))).toEqual([1, 2]);
  });
  test("another stub", async () => {
    expect(await moved(await other({ ".text": bytesOf("stuB") }))).toEqual([1]);
    expect(await moved(await other({ ".sbat": bytesOf("sbat,2") }))).toEqual([1, 2]);
  });
});

test("of an image from before its hashes of SHA-384 were kept nothing is computed", async () => {
  expect(await expectedRtmrs(RECORDED.boot, RECORDED.commandLine)).toBeNull();
});

describe("an image or a line whose measurement would not be certain is refused", () => {
  test.each<[string, (boot: BootFacts) => BootFacts]>([
    ["without the kernel's hash", ({ uki, kernelAuthenticodeSha256 }) => ({ uki, kernelAuthenticodeSha256 })],
    [
      "with a hash of SHA-256 in its place",
      (boot) => ({ ...boot, kernelAuthenticodeSha384: "00".repeat(32) }),
    ],
    [
      "with a section that has no hash",
      ({ uki, ...rest }) => ({
        ...{ ...rest, uki: { ...uki, sections: uki.sections.map(({ name, sha256 }) => ({ name, sha256 })) } },
      }),
    ],
    [
      "with a command line of its own",
      ({ uki, ...rest }) => ({
        ...rest,
        uki: { ...uki, sections: [...uki.sections, { ...uki.sections[0]!, name: ".cmdline" }] },
      }),
    ],
  ])("%s", async (_name, change) => {
    await expect(expectedRtmrs(change(await bootFactsOf(image)), LINE)).rejects.toThrow(TpmFault);
  });

  test("a line that the stub would change", async () => {
    const boot = await bootFactsOf(image);
    for (const line of ["", " a", "a  b", "@1 a"])
      await expect(expectedRtmrs(boot, line)).rejects.toThrow("printable ASCII");
  });
});
