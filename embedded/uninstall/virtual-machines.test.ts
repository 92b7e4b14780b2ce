// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { newMachineId } from "#drivers/conformance/machine.ts";
import { ownNetworks } from "#drivers/qemu/network/testing.ts";
import { describeWith } from "#testing/requirements.ts";
import { findVirtualMachines, removeVirtualMachines } from "./virtual-machines.ts";

describeWith([ownNetworks], "virtual machines of an installation", () => {
  let vms: string;
  const owner = `test-gone-${process.pid}`;
  beforeEach(() => {
    vms = mkdtempSync(join(tmpdir(), "casemate-vms-"));
  });
  afterEach(async () => {
    await removeVirtualMachines({ vms, owner }, false);
    rmSync(vms, { recursive: true, force: true });
  });

  test("are found by their disks and by their networks, and go; with the data kept, their disks stay", async () => {
    expect(await findVirtualMachines({ vms, owner })).toEqual([]);
    const [halted, lost] = [newMachineId(), newMachineId()];
    mkdirSync(join(vms, "t/vms", halted), { recursive: true });
    writeFileSync(join(vms, "t/vms", halted, "state.img"), "disk");
    // Its files are gone, as after somebody removed the folder by hand.
    execFileSync("ip", ["netns", "add", `casemate-${owner}-v-${lost}`]);
    expect((await findVirtualMachines({ vms, owner })).sort()).toEqual([halted, lost].sort());
    await removeVirtualMachines({ vms, owner }, true);
    expect(existsSync(join(vms, "t/vms", halted, "state.img"))).toBe(true);
    expect(await findVirtualMachines({ vms, owner })).toEqual([halted]);
    await removeVirtualMachines({ vms, owner }, false);
    expect(existsSync(join(vms, "t/vms", halted))).toBe(false);
    expect(await findVirtualMachines({ vms, owner })).toEqual([]);
  });
});
