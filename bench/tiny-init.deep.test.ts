// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { kernel, qemu } from "#drivers/qemu/testing.ts";
import { findKernel } from "#drivers/qemu/trial.ts";
import { describeWith } from "#testing/requirements.ts";
import { tinyInitrd } from "./tiny-init.ts";
import { bareBoot } from "./vms.ts";

describeWith([qemu, kernel], "the baseline of virtual machines", () => {
  test("is a kernel that starts a program of ours, which says its word and powers off", async () => {
    const folder = mkdtempSync(join(tmpdir(), "casemate-tiny-"));
    try {
      const initrd = join(folder, "initrd");
      writeFileSync(initrd, tinyInitrd());
      expect(await bareBoot("tcg", findKernel("")!, initrd)).toBeGreaterThan(0);
      // A first program that is none leaves the kernel without one.
      writeFileSync(initrd, tinyInitrd().fill(0, 250));
      await expect(bareBoot("tcg", findKernel("")!, initrd)).rejects.toThrow(/did not start/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }, 300_000);
});
