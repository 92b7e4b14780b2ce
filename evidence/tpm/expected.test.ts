// SPDX-License-Identifier: Apache-2.0
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { assembleUki } from "#images/uki.ts";
import { hexOf } from "../bytes.ts";
import { bytesOf } from "../x509/specimen.ts";
import type { BootFacts } from "./boot-events.ts";
import { parseEventLog, replay } from "./event-log.ts";
import { bootFactsOf, expectedPcrs, REQUIRED_PCRS } from "./expected.ts";
import { authenticodeSha256, sectionsOf } from "./pe.ts";
import { RECORDED } from "./recorded-boot.ts";
import { writePe } from "./specimen.ts";
import { TpmFault } from "./wire.ts";

const kernel = writePe({ ".text": bytesOf("kernel") });
const MARK = bytesOf("#### LoaderInfo: systemd-stub 257.13-1 ####");
const stub = { ".text": bytesOf("stub"), ".sbat": bytesOf("sbat,1"), ".sdmagic": MARK };
const parts = { ".linux": kernel, ".initrd": bytesOf("initramfs") };
const image = writePe({ ...stub, ...parts });
const LINE = "quiet casemate.root=00 casemate.launch=11";
const sha = (...bytes: Uint8Array[]) => hashOf("sha256", bytes);
const hashOf = (algorithm: string, bytes: Uint8Array[]) => {
  const hash = createHash(algorithm);
  for (const one of bytes) hash.update(one);
  return hash.digest("hex");
};

describe("a boot that was recorded", () => {
  test("has a log that comes to its registers", async () => {
    const registers = await replay(parseEventLog(Uint8Array.from(Buffer.from(RECORDED.eventLog, "base64"))));
    for (const [pcr, value] of Object.entries(RECORDED.pcrs))
      expect([pcr, hexOf(registers.get(Number(pcr)) ?? new Uint8Array(32))]).toEqual([pcr, value]);
  });

  test("has the registers that are computed from its image and line alone", async () => {
    const expected = await expectedPcrs(RECORDED.boot, RECORDED.commandLine);
    for (const pcr of REQUIRED_PCRS) expect(expected[pcr]).toBe(RECORDED.pcrs[pcr]);
  });
});

describe("registers move with what they measure, and with nothing else", () => {
  const moved = async (boot: BootFacts, line = LINE) => {
    const before = await expectedPcrs(await bootFactsOf(image), LINE);
    const after = await expectedPcrs(boot, line);
    return REQUIRED_PCRS.filter((pcr) => before[pcr] !== after[pcr]);
  };
  const other = (change: Record<string, Uint8Array>) =>
    bootFactsOf(writePe({ ...stub, ...parts, ...change }));

  test("nothing", async () => {
    expect(await moved(await bootFactsOf(image))).toEqual([]);
  });
  test("another command line, also one with a word more behind it", async () => {
    const boot = await bootFactsOf(image);
    for (const line of [`${LINE} init=/bin/sh`, LINE.replace("00", "01")])
      expect(await moved(boot, line)).toEqual([9, 12]);
  });
  test("another initramfs", async () => {
    expect(await moved(await other({ ".initrd": bytesOf("initramfS") }))).toEqual([4, 9, 11]);
  });
  test("another kernel, and another stub", async () => {
    expect(await moved(await other({ ".linux": writePe({ ".text": bytesOf("kernem") }) }))).toEqual([4, 11]);
    expect(await moved(await other({ ".text": bytesOf("stuB") }))).toEqual([4]);
    expect(await moved(await other({ ".sbat": bytesOf("sbat,2") }))).toEqual([4, 11]);
  });
});

test("what writes an image and what judges it read the same out of it", async () => {
  const own = {
    ".linux": Buffer.from(kernel),
    ".initrd": Buffer.from("initramfs"),
  };
  const uki = assembleUki(Buffer.from(writePe(stub)), own);
  const boot = await bootFactsOf(Uint8Array.from(uki));
  const measured = { ...own, ".sbat": stub[".sbat"] };
  expect(boot.uki.sections).toEqual(
    Object.entries(measured).map(([name, bytes]) => ({
      ...{ name, sha256: sha(bytes), sha384: hashOf("sha384", [bytes]) },
    })),
  );
});

describe("an image is refused", () => {
  test.each<[string, Uint8Array]>([
    ["without a kernel", writePe({ ...stub, ".initrd": bytesOf("x") })],
    ["with a section of which the stub makes an initramfs", writePe({ ...stub, ...parts, ".osrel": MARK })],
    ["with a section of a later stub", writePe({ ...stub, ...parts, ".efifw": bytesOf("x") })],
    ["of an earlier stub", writePe({ ...stub, ...parts, ".sdmagic": bytesOf("systemd-stub 252.1") })],
    ["of a stub that does not say which it is", writePe({ ".text": bytesOf("stub"), ...parts })],
    ["whose kernel is no program", writePe({ ...stub, ...parts, ".linux": bytesOf("x") })],
    ["that is cut off", image.subarray(0, image.length - 600)],
    ["that is nothing", new Uint8Array()],
  ])("%s", async (_name, file) => {
    await expect(bootFactsOf(file)).rejects.toThrow(TpmFault);
  });

  test("with a command line of its own, which one from outside replaces unseen", async () => {
    const boot = await bootFactsOf(writePe({ ...stub, ...parts, ".cmdline": bytesOf("quiet") }));
    await expect(expectedPcrs(boot, LINE)).rejects.toThrow("command line of its own");
  });

  test("without an initramfs, or with a hash that is none", async () => {
    const boot = await bootFactsOf(image);
    await expect(expectedPcrs({ ...boot, kernelAuthenticodeSha256: "00" }, LINE)).rejects.toThrow(TpmFault);
    const bare = await bootFactsOf(writePe({ ...stub, ".linux": kernel }));
    await expect(expectedPcrs(bare, LINE)).rejects.toThrow("no initramfs");
  });

  test("by metadata with a section that the stub would do more with than measure it", async () => {
    const { uki, ...rest } = await bootFactsOf(image);
    const sections = [...uki.sections, { name: ".osrel", sha256: "00".repeat(32) }];
    await expect(expectedPcrs({ ...rest, uki: { ...uki, sections } }, LINE)).rejects.toThrow(
      "not known here",
    );
  });

  test("with sections that overlap, or one twice", async () => {
    const at = 0x58 + 240 + 40;
    const overlapping = Uint8Array.from(image);
    new DataView(overlapping.buffer).setUint32(at + 20, 1024 - 8, true);
    await expect(authenticodeSha256(overlapping)).rejects.toThrow(TpmFault);
    const twice = Uint8Array.from(image);
    twice.set(bytesOf(".linux\0"), at);
    expect(() => sectionsOf(twice)).toThrow("twice");
  });
});

test("a line whose measurement would not be certain is refused", async () => {
  const boot = await bootFactsOf(image);
  for (const line of ["", " a", "a ", "a  b", "a\tb", "ä", "@1 a", `${"a".repeat(2048)}`])
    await expect(expectedPcrs(boot, line)).rejects.toThrow("printable ASCII");
});

test("the hash of a program leaves out its checksum and its signatures, and nothing else", async () => {
  const signed = writePe({ ".text": bytesOf("program") }, bytesOf("signature"));
  const hash = await authenticodeSha256(signed);
  const checksum = 0x58 + 64;
  const certificates = 0x58 + 144;
  const { length } = bytesOf("signature");
  expect(hash).toBe(
    sha(
      signed.subarray(0, checksum),
      signed.subarray(checksum + 4, certificates),
      signed.subarray(certificates + 8, signed.length - length),
    ),
  );
  const same = async (at: number) => {
    const copy = Uint8Array.from(signed);
    copy[at]! ^= 1;
    return (await authenticodeSha256(copy)) === hash;
  };
  expect(await same(checksum)).toBe(true);
  expect(await same(signed.length - 1)).toBe(true);
  for (const at of [2, certificates - 1, certificates + 8, signed.length - length - 1])
    expect(await same(at)).toBe(false);
});

test("any bytes are refused or hashed, and nothing is thrown but a fault", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(0x200), fc.integer({ min: 0, max: 255 }), async (at, byte) => {
      const copy = Uint8Array.from(image);
      copy[at] = byte;
      try {
        await bootFactsOf(copy);
      } catch (fault) {
        expect(fault).toBeInstanceOf(TpmFault);
      }
    }),
    { numRuns: 300 },
  );
});
