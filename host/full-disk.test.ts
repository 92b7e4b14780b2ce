// SPDX-License-Identifier: Apache-2.0
/** The state folder on a file system of its own that is full. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { verifyProof } from "#evidence/proofs/verify.ts";
import { desire, newMachineId } from "#testing/recording-control.ts";
import { describeWith, root } from "#testing/requirements.ts";
import { control, host, runMachine, scratch, undo } from "./testing.ts";

function smallState(folder: string): { fill(): void; free(): void } {
  const state = join(folder, "host");
  mkdirSync(state, { mode: 0o700 });
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", state]);
  if (mounted.status !== 0) throw new Error(mounted.stderr.toString());
  undo.push(() => {
    // Lazily: a descriptor left open by a failed test must not keep the mount.
    spawnSync("umount", ["-l", state]);
  });
  const filler = join(state, "filler");
  return {
    fill() {
      for (let size = 64 * 1024, at = 0; size >= 1; size = size >> 1)
        try {
          for (;;) writeFileSync(`${filler}.${at++}`, Buffer.alloc(size));
        } catch {
          // Full for this size.
        }
    },
    free() {
      for (const name of readdirSync(state)) if (name.startsWith("filler")) rmSync(join(state, name));
    },
  };
}

describeWith([root], "a host whose disk is full", () => {
  test("does not report a machine running whose record cannot be stored", async () => {
    const folder = scratch();
    const disk = smallState(folder);
    const recording = await control(folder);
    await host(folder);
    const hostId = await recording.joined();
    disk.fill();
    const wish = desire(newMachineId());
    recording.link.sendDesired(hostId, [wish]);
    expect(await recording.sees(wish.machineId, "running", "failed")).toMatchObject({
      code: "host.no-space",
    });
    expect(readdirSync(join(folder, "machines"))).toEqual([]);
    disk.free();
    // Said to have failed: the same wish again does not start it behind control's back, a new one does.
    recording.link.sendDesired(hostId, [wish]);
    recording.link.sendDesired(hostId, [{ ...wish, generation: 2 }]);
    expect(await recording.sees(wish.machineId, "running")).toMatchObject({ generation: 2 });
    expect(
      recording.observed.filter((one) => one.generation === 1).every((one) => one.state === "failed"),
    ).toBe(true);
  });

  test("still ends a machine with its proof", async () => {
    const folder = scratch();
    const disk = smallState(folder);
    const recording = await control(folder);
    const running = await host(folder);
    const hostId = await recording.joined();
    const { end } = await runMachine(recording, hostId);
    disk.fill();
    const { ended } = await end();
    expect(verifyProof(Buffer.from(ended!.proof), { issuers: running.facts().issuers })).toMatchObject({
      valid: true,
      outcome: "complete",
    });
  });
});
