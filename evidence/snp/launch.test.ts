// SPDX-License-Identifier: Apache-2.0
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { snpFolder, snpVectors } from "#testing/vectors.ts";
import { hexOf } from "../bytes.ts";
import { launchDigest } from "./launch.ts";
import { FirmwareFault, readFirmware } from "./launch-firmware.ts";
import { processorSignature } from "./launch-save-area.ts";
import { PROCESSOR_SIGNATURES } from "./processors.ts";

interface Vector {
  name: string;
  ovmf: string;
  vcpu_sig: string;
  vcpus: number;
  guest_features: string;
  kernel: "empty" | null;
  cmdline: string | null;
  launch_digest?: string;
}

describeWith([snpVectors], "launch digests computed elsewhere", () => {
  const list: Vector[] = snpVectors.met
    ? JSON.parse(readFileSync(join(snpFolder, "launch-digest.json"), "utf8")).vectors
    : [];
  const firmwareOf = (name: string) => readFileSync(join(snpFolder, "sev-snp-measure", name));
  const digestOf = (vector: Vector, change: { firmware?: Uint8Array; commandLine?: string } = {}) =>
    launchDigest({
      firmware: change.firmware ?? firmwareOf(vector.ovmf),
      processors: vector.vcpus,
      signature: Number(vector.vcpu_sig),
      features: BigInt(vector.guest_features),
      boot:
        vector.kernel === null
          ? null
          : {
              kernel: new Uint8Array(),
              initrd: new Uint8Array(),
              commandLine: change.commandLine ?? vector.cmdline!,
            },
    });

  test.each(list.map((one) => [one.name, one] as const))("%s comes out the same", async (_name, vector) => {
    if (vector.launch_digest === undefined) await expect(digestOf(vector)).rejects.toThrow(FirmwareFault);
    else expect(hexOf(await digestOf(vector))).toBe(vector.launch_digest);
  });

  test("hashes of kernel and initramfs do as well as the files, and what is no hash is refused", async () => {
    const vector = list.find(({ name }) => name === "qemu-1vcpu-cmdline")!;
    const empty = createHash("sha256").digest("hex");
    const digest = (kernelSha256: string) =>
      launchDigest({
        ...{ firmware: firmwareOf(vector.ovmf), processors: 1, signature: 0x800f12, features: 1n },
        boot: { kernelSha256, initrdSha256: empty, commandLine: vector.cmdline! },
      });
    expect(hexOf(await digest(empty))).toBe(vector.launch_digest);
    expect(hexOf(await digest("00".repeat(32)))).not.toBe(vector.launch_digest);
    for (const none of ["", "00", "zz".repeat(32)]) await expect(digest(none)).rejects.toThrow(RangeError);
  });

  test("another command line, firmware byte or number of processors is another digest", async () => {
    const vector = list.find(({ name }) => name === "qemu-1vcpu-cmdline")!;
    const spoilt = Uint8Array.from(firmwareOf(vector.ovmf));
    spoilt[0]! ^= 1;
    const digests = [
      await digestOf(vector),
      await digestOf(vector, { commandLine: `${vector.cmdline} ` }),
      await digestOf(vector, { firmware: spoilt }),
      await digestOf({ ...vector, vcpus: 2 }),
    ].map(hexOf);
    expect(new Set(digests).size).toBe(4);
  });

  test("a firmware with any bytes changed is read or refused, never anything else", () => {
    const whole = firmwareOf("ovmf_AmdSev_suffix.bin");
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 700 }), fc.integer({ min: 0, max: 255 })), {
          maxLength: 6,
        }),
        (changes) => {
          const bytes = Uint8Array.from(whole);
          for (const [at, value] of changes) bytes[4095 - at] = value;
          try {
            expect(readFirmware(bytes).sections.length).toBeLessThanOrEqual(64);
          } catch (fault) {
            expect(fault).toBeInstanceOf(FirmwareFault);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

test("what is no firmware is refused, and so is a number of processors that nobody starts", async () => {
  for (const bytes of [0, 100, 4096, 8192].map((length) => new Uint8Array(length)))
    expect(() => readFirmware(bytes)).toThrow(FirmwareFault);
  const launch = { firmware: new Uint8Array(4096), signature: 0, features: 1n, boot: null };
  for (const processors of [0, 1.5, 513])
    await expect(launchDigest({ ...launch, processors })).rejects.toThrow(RangeError);
});

test("a processor's signature is made of family, model and stepping", () => {
  expect(processorSignature(0x17, 1, 2)).toBe(0x800f12);
  expect(processorSignature(0x19, 0x11, 0)).toBe(0xa10f10);
  expect(PROCESSOR_SIGNATURES.get("EPYC-Turin")).toBe(0xb00f00);
});
