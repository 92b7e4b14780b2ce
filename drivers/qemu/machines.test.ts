// SPDX-License-Identifier: Apache-2.0
/** What needs no guest: starts that fail, and things that only look like a machine's. Guests are in the deep tests. */
import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { KEPT_SPEC, linesOf } from "../conformance/kept-machine.ts";
import { newMachineId } from "../conformance/machine.ts";
import type { KeptDriver } from "../kept-driver.ts";
import { bootId, isAlive, startTime } from "../sandbox/process-table.ts";
import { VirtualMachines, type VmHooks } from "./machines.ts";
import { findClosedFolder, placeOf } from "./place.ts";
import { connectSoon } from "./sockets.ts";
import { openMachines, qemu, type TestMachines } from "./testing.ts";

let test: TestMachines;
beforeEach(() => {
  test = openMachines();
});
afterEach(() => test.close());

const hooks = (more: Partial<VmHooks> = {}): VmHooks => ({
  onRecord: async () => {},
  onProgress: () => {},
  signal: new AbortController().signal,
  ...more,
});
const ASK = {
  boot: { kernel: "/no-kernel", initrd: null, line: "quiet" },
  ...{ firmware: null, tpm: false, roots: [], scratchMiB: 1, publicPort: 80, network: null },
};
const logOf = (id: string, container: string | null = null) =>
  linesOf(test.machines as unknown as KeptDriver, id, container);

describe("a machine that never was", () => {
  it("is gone, and is removed and halted all the same", async () => {
    const id = newMachineId();
    expect(await test.machines.find(id, {})).toEqual({ state: "gone", endpoint: null });
    await test.machines.halt(id, null);
    await test.machines.remove(id, null);
    expect(test.traces(id)).toEqual([]);
    await expect(test.machines.stats(id)).rejects.toMatchObject({ code: "machine.not-running" });
    await expect(test.machines.guest(id)).rejects.toMatchObject({ code: "machine.not-running" });
    await expect(logOf(id, "web")).rejects.toMatchObject({ code: "machine.no-container" });
  });

  it("has no name that is a path", async () => {
    for (const id of ["../mach_0", "mach_1", `mach_${"0".repeat(32)}/..`, ""]) {
      await expect(test.machines.start(id, KEPT_SPEC, ASK, hooks())).rejects.toThrow(TypeError);
      await expect(test.machines.remove(id, null)).rejects.toThrow(TypeError);
      expect(() => test.machines.logs(id, {} as never)).toThrow(TypeError);
    }
  });
});

describe("a start that fails", () => {
  it("when its record cannot be stored leaves nothing at all", async () => {
    const id = newMachineId();
    const full = hooks({ onRecord: () => Promise.reject(new Error("disk full")) });
    await expect(test.machines.start(id, KEPT_SPEC, ASK, full)).rejects.toThrow("disk full");
    expect(test.traces(id)).toEqual([]);
  });

  it("because there is no QEMU leaves nothing running", async () => {
    const id = newMachineId();
    const machines = test.open({ program: "/no-qemu" });
    await expect(machines.start(id, KEPT_SPEC, ASK, hooks())).rejects.toMatchObject({
      code: "machine.start-failed",
      message: expect.stringContaining("no-qemu"),
    });
    expect(test.processes(id)).toEqual([]);
    expect(await machines.find(id, {})).toEqual({ state: "halted", endpoint: null });
    await machines.remove(id, null);
    expect(test.traces(id)).toEqual([]);
  });

  it.each([
    ["is not there", "/no-swtpm", /no-swtpm/],
    ["ends at once", "/bin/false", /swtpm ended \(1\)/],
  ])("because what plays the TPM %s leaves nothing running", async (_, tpmProgram, why) => {
    const id = newMachineId();
    const machines = test.open({ tpmProgram });
    await expect(machines.start(id, KEPT_SPEC, { ...ASK, tpm: true }, hooks())).rejects.toMatchObject({
      code: "machine.start-failed",
      message: expect.stringMatching(why),
    });
    expect(test.processes(id)).toEqual([]);
  });

  it("that is called off while the TPM's program has no socket yet leaves nothing running", async () => {
    const id = newMachineId();
    const program = join(test.options.folder, "slow");
    writeFileSync(program, "#!/bin/sh\nexec sleep 1000\n", { mode: 0o755 });
    const machines = test.open({ tpmProgram: program });
    const starting = machines.start(id, KEPT_SPEC, { ...ASK, tpm: true }, hooks());
    const outcome = expect(starting).rejects.toMatchObject({ message: "called off" });
    await expect.poll(() => test.processes(id).length).toBeGreaterThan(0);
    await machines.halt(id, null);
    await outcome;
    expect(test.processes(id)).toEqual([]);
  });

  it("because its memory is too little for firmware says so before anything is made", async () => {
    const id = newMachineId();
    const ask = { ...ASK, firmware: { code: "/none", variables: "/none" } };
    await expect(test.machines.start(id, KEPT_SPEC, ask, hooks())).rejects.toMatchObject({
      code: "machine.start-failed",
      message: "firmware needs at least 256 MiB",
    });
    expect(test.traces(id)).toEqual([]);
  });

  it("because it was called off before it began says so", async () => {
    const id = newMachineId();
    const signal = AbortSignal.abort(new Error("no longer wanted"));
    await expect(test.machines.start(id, KEPT_SPEC, ASK, hooks({ signal }))).rejects.toThrow(
      "no longer wanted",
    );
    expect(test.traces(id)).toEqual([]);
  });
});

describeWith([qemu], "a start that QEMU refuses", () => {
  it("fails with QEMU's own words and leaves nothing running", async () => {
    const id = newMachineId();
    await expect(test.machines.start(id, KEPT_SPEC, ASK, hooks())).rejects.toMatchObject({
      code: "machine.start-failed",
      message: expect.stringMatching(/QEMU ended \(1\) .*no-kernel/),
    });
    expect(test.processes(id)).toEqual([]);
    expect(await logOf(id)).toEqual(["starting"]);
    expect(await test.machines.list()).toContain(id);
    expect(await test.machines.reap(new Set())).toBe(1);
    expect(test.traces(id)).toEqual([]);
  });
});

describe("what is not the machine's", () => {
  it("is not ended because a note has its number: of an earlier process, or of another boot", async () => {
    const other = spawn("sleep", ["1000"], { stdio: "ignore" });
    try {
      const pid = other.pid!;
      const pidStart = startTime(pid)!;
      for (const qemu of [
        { pid, pidStart: String(Number(pidStart) - 1), bootId: bootId() },
        { pid, pidStart, bootId: "another boot" },
      ]) {
        const id = newMachineId();
        const path = join(test.options.folder, "machines", `${id}.json`);
        const note = { v: 1, phase: "running", uids: null, qemu, accelerator: "tcg", hostPort: null };
        writeFileSync(path, JSON.stringify({ ...note, cpus: 1, memoryMiB: 64, stateMiB: 0 }));
        expect(await test.machines.find(id, {})).toEqual({ state: "halted", endpoint: null });
        expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ phase: "halted", qemu: null });
        await test.machines.remove(id, null);
        expect(isAlive({ pid, pidStart })).toBe(true);
      }
    } finally {
      other.kill("SIGKILL");
    }
  });

  it("is not spoken to through a link that stands where a socket should be", async () => {
    const place = placeOf(test.options.folder, newMachineId());
    mkdirSync(place.sockets.folder, { recursive: true });
    const secret = join(test.options.folder, "secret.sock");
    let visitors = 0;
    const server = createServer((socket) => {
      visitors++;
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(secret, resolve));
    try {
      symlinkSync(secret, place.sockets.qmp);
      await expect(connectSoon(place.sockets.qmp, AbortSignal.timeout(20_000))).rejects.toThrow(/is a link/);
      expect(visitors).toBe(0);
      (await connectSoon(secret, AbortSignal.timeout(20_000))).destroy();
      await expect.poll(() => visitors).toBe(1);
    } finally {
      await new Promise((resolve) => server.close(resolve));
      rmSync(secret, { force: true });
    }
  });
});

it("refuses a folder below which no socket could be, and names one that others cannot pass", async () => {
  const folder = join(test.options.folder, "x".repeat(60));
  expect(() => new VirtualMachines({ ...test.options, folder })).toThrow(/too long/);
  expect(findClosedFolder(test.options.folder)).toBeNull();
  const closed = join(test.options.folder, "closed");
  mkdirSync(join(closed, "inner"), { recursive: true });
  mkdirSync(join(closed, "inner/own"), { mode: 0o711 });
  expect(findClosedFolder(join(closed, "inner/own"))).toBeNull();
  rmSync(closed, { recursive: true });
  mkdirSync(join(closed, "inner/own"), { recursive: true, mode: 0o700 });
  expect(findClosedFolder(join(closed, "inner/own"))).toBe(join(closed, "inner/own"));
  const machines = test.open({ folder: join(closed, "inner/own"), uids: { base: 1, count: 1 } });
  chmodSync(join(closed, "inner"), 0o700);
  const named = { ready: false, missing: expect.stringContaining(`chmod o+x ${join(closed, "inner")}`) };
  expect(await machines.probe()).toEqual({ ...named, ...(qemu.met ? {} : { missing: expect.any(String) }) });
  expect(await test.open({ program: "/no-qemu" }).probe()).toEqual({
    ready: false,
    missing: "no QEMU answers at /no-qemu: apt-get install -y qemu-system-x86",
  });
});
