// SPDX-License-Identifier: Apache-2.0
/** Machines that boot: their life, what is around them, and what a kill leaves at each stage, of the host and of QEMU. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { statusOf } from "#testing/process-status.ts";
import { describeWith, root } from "#testing/requirements.ts";
import { type Misbehaviour, makeSmallGuest, type SmallGuest, smallGuest } from "#testing/small-guest.ts";
import { ask as askInside, KEPT_SPEC, linesOf } from "../conformance/kept-machine.ts";
import { newMachineId } from "../conformance/machine.ts";
import type { Endpoint, KeptDriver } from "../kept-driver.ts";
import type { VirtualMachines, VmAsk } from "./machines.ts";
import { FIRMWARE, firmware, openMachines, qemu, swtpm, type TestMachines } from "./testing.ts";

/** As long as an emulated machine on a busy computer may take. */
const SLOW_MS = 100_000;
const SPEC = {
  ...KEPT_SPEC,
  ...{ isolation: "vm" as const, cpuMillis: 1000, memoryMiB: 128 },
  kept: { diskMiB: 16, labels: {}, domains: [] },
};

describeWith([qemu, smallGuest], "virtual machines", () => {
  let guest: SmallGuest;
  let test: TestMachines;
  let id: string;
  beforeAll(() => {
    guest = makeSmallGuest();
  });
  afterAll(() => guest[Symbol.dispose]());
  beforeEach(() => {
    test = openMachines();
    id = newMachineId();
  });
  afterEach(() => test.close());

  const asked = (misbehaviour: Misbehaviour | "" = "", more: Partial<VmAsk> = {}): VmAsk => ({
    boot: {
      ...{ kernel: guest.kernel, initrd: guest.initrd },
      line: `console=ttyS0 quiet panic=-1 ${misbehaviour}`,
    },
    ...{ firmware: null, tpm: false, roots: [], scratchMiB: 8, publicPort: 80, network: null },
    ...more,
  });
  const start = (
    machines: VirtualMachines = test.machines,
    ask = asked(),
    onProgress = (_: string) => {},
    memoryMiB = SPEC.memoryMiB,
    cpuMillis = SPEC.cpuMillis,
  ) =>
    machines.start(id, { ...SPEC, memoryMiB, cpuMillis }, ask, {
      ...{ onRecord: async () => {}, onProgress, signal: new AbortController().signal },
    });
  /** The guest is up before its web server is, at times. */
  const inside = async (endpoint: Endpoint | null, command: string) => {
    let said = "";
    await expect
      .poll(async () => {
        said = await askInside(endpoint!, `echo here; ${command}`).catch(() => "");
        return said;
      })
      .toMatch(/^here/);
    return said.slice("here\n".length);
  };
  /** Ends the web server's machine from inside; the answer may not come. */
  const tell = (endpoint: Endpoint | null, command: string) =>
    void inside(endpoint, `(${command}) >/dev/null 2>&1 &`).catch(() => {});
  const logOf = (container: string | null, machines: VirtualMachines = test.machines) =>
    linesOf(machines as unknown as KeptDriver, id, container);
  const qemuOf = () => {
    const [pid, ...others] = test.processes(id);
    expect(others).toEqual([]);
    return pid!;
  };
  const changed = () =>
    expect.poll(() => test.changes.filter(({ machineId }) => machineId === id)).toHaveLength(1);
  const noteFile = () => join(test.options.folder, "machines", `${id}.json`);

  it("run with what they were given, tell what they use, and are told by their console", async () => {
    const { endpoint, record, guest: agent } = await start();
    expect(agent.welcome.agent).toBe("small");
    expect(record).toEqual({ v: 1, driver: "qemu", owner: test.options.owner });
    expect(await inside(endpoint, "ls /dev/vd*; nproc; cat /proc/cmdline")).toBe(
      "/dev/vda\n/dev/vdb\n1\nconsole=ttyS0 quiet panic=-1",
    );
    expect(await logOf(null)).toEqual(["starting", "running"]);
    expect(await logOf("console")).toContain("small guest is up");
    const stats = await test.machines.stats(id);
    expect(stats.memory).toEqual({ totalBytes: 128 * 2 ** 20, usedBytes: expect.any(Number) });
    expect(stats.memory.usedBytes).toBeGreaterThan(16 * 2 ** 20);
    expect(stats.cpus).toHaveLength(1);
    expect(stats.disks).toMatchObject([{ name: "state", sizeBytes: 16 * 2 ** 20, usedBytes: 0 }]);
    expect(await test.machines.list()).toEqual(new Set([id]));
    expect((await (await test.machines.guest(id)).ask("health", {}, { timeoutMs: 20_000 })).uptimeMs).toBe(1);
    await test.machines.remove(id, record);
    expect(test.traces(id)).toEqual([]);
  });

  it("with two processors stand a kernel that patches itself while both run it, as one does when a container starts", async () => {
    const { endpoint, record } = await start(test.machines, asked(), undefined, 128, 2000);
    expect(await inside(endpoint, "nproc")).toBe("2");
    // A switch in the scheduler, which both go through all the time.
    const patch = "for each in 1 0; do echo $each > /proc/sys/kernel/sched_schedstats; done";
    const busy = "while :; do true; done & a=$!; while :; do /bin/true; done & b=$!";
    tell(
      endpoint,
      `${busy}; n=0; while [ $n -lt 80 ]; do ${patch}; n=$((n+1)); done; kill $a $b; touch /patched`,
    );
    await expect.poll(() => inside(endpoint, "ls /patched"), { timeout: SLOW_MS }).toBe("/patched");
    expect(test.changes).toEqual([]);
    await test.machines.remove(id, record);
  });

  it("reach nothing of the host by its own addresses, whatever listens there", async () => {
    let visitors = 0;
    const server = createServer((socket) => {
      visitors++;
      socket.end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    try {
      const { endpoint } = await start();
      const tried = `ip route add default via 10.0.2.2; for each in 10.0.2.2 10.0.2.3 127.0.0.1; do nc -w 2 $each ${port} </dev/null && echo reached; done; echo tried`;
      expect(await inside(endpoint, tried)).toMatch(/tried$/);
      expect(await inside(endpoint, tried)).not.toMatch(/reached/);
      expect(visitors).toBe(0);
    } finally {
      server.close();
    }
  });

  it("keep their state over a halt and their scratch not, and are reached at the same port again", async () => {
    const first = await start();
    await inside(first.endpoint, "echo kept | dd of=/dev/vda; echo gone | dd of=/dev/vdb; sync");
    await test.machines.halt(id, first.record);
    expect(test.processes(id)).toEqual([]);
    expect(await test.machines.find(id, first.record)).toEqual({ state: "halted", endpoint: null });
    const again = await start();
    expect(again.endpoint).toEqual(first.endpoint);
    expect(await inside(again.endpoint, "head -c 4 /dev/vda; head -c 4 /dev/vdb | od -An -tx1")).toBe(
      "kept 00 00 00 00",
    );
    // Port A: over a running one.
    const over = await start();
    expect(await inside(over.endpoint, "head -c 4 /dev/vda")).toBe("kept");
    expect(test.processes(id)).toHaveLength(1);
  });

  it.each<[string, Misbehaviour | "", number]>([
    ["their agent, where it does as it is asked", "", 60_000],
    ["the power button, where it refuses", "stubborn", 60_000],
    ["a kill, where nothing helps", "immortal", 1_500],
  ])("are halted by %s", async (_, misbehaviour, shutdownMs) => {
    const machines = test.open({ shutdownMs });
    await start(machines, asked(misbehaviour));
    await machines.halt(id, null);
    expect(test.processes(id)).toEqual([]);
    const killed = misbehaviour === "immortal" ? ["did not shut down in time, and is ended"] : [];
    const said = ["starting", "running", "asked to shut down", ...killed, "halted"];
    expect(await logOf(null, machines)).toEqual(said);
  });

  it("whose agent never answers are ended when their time is over, or when they are called off", async () => {
    const hasty = test.open({ bootMs: 3_000 });
    await expect(start(hasty, asked("deaf"))).rejects.toMatchObject({ code: "machine.boot-timeout" });
    expect(test.processes(id)).toEqual([]);
    const steps: string[] = [];
    const starting = start(test.machines, asked("deaf"), (step) => void steps.push(step));
    const outcome = expect(starting).rejects.toMatchObject({ message: "called off" });
    await expect.poll(() => steps).toContain("booting");
    await test.machines.halt(id, null);
    await outcome;
    expect(test.processes(id)).toEqual([]);
  });

  it.each([
    [
      "shuts itself down",
      "sync; poweroff -f",
      { state: "halted", detail: "shut down from inside", orderly: true },
    ],
    ["restarts itself", "reboot -f", { state: "interrupted", detail: "restarted from inside" }],
    [
      "loses its kernel",
      "echo c > /proc/sysrq-trigger",
      { state: "interrupted", detail: "restarted from inside" },
    ],
  ])("that %s is told, and nothing of it runs", async (_, command, change) => {
    const { endpoint, record } = await start();
    tell(endpoint, command);
    await changed();
    expect(test.changes).toEqual([{ machineId: id, ...change }]);
    expect(test.processes(id)).toEqual([]);
    expect(await test.machines.find(id, record)).toEqual({ state: "halted", endpoint: null });
  });

  describe("when QEMU is killed", () => {
    it("while it runs, that is told, nothing is left but the state, and it starts again", async () => {
      const { endpoint } = await start();
      await inside(endpoint, "echo kept | dd of=/dev/vda; sync");
      process.kill(qemuOf(), "SIGKILL");
      await changed();
      expect(test.changes[0]).toMatchObject({
        state: "interrupted",
        detail: "its QEMU was ended from outside",
      });
      expect(test.processes(id)).toEqual([]);
      expect(await inside((await start()).endpoint, "head -c 4 /dev/vda")).toBe("kept");
    });

    it("while it boots, the start fails and nothing is left", async () => {
      const steps: string[] = [];
      const starting = start(test.machines, asked("deaf"), (step) => void steps.push(step));
      const outcome = expect(starting).rejects.toMatchObject({
        code: "machine.start-failed",
        message: expect.stringMatching(/SIGKILL/),
      });
      await expect.poll(() => steps).toContain("booting");
      process.kill(qemuOf(), "SIGKILL");
      await outcome;
      expect(test.processes(id)).toEqual([]);
      await test.machines.remove(id, null);
      expect(test.traces(id)).toEqual([]);
    });
  });

  describe("when the host process is killed", () => {
    /** At the step that it says; with `hold` it goes on no further than to its record. */
    const killedAt = async (step: string, ask = asked(), hold = false) => {
      const input = { options: test.options, machineId: id, spec: SPEC, ask, hold };
      const script = new URL("./crashing-host.ts", import.meta.url).pathname;
      const child = spawn(process.execPath, [script, JSON.stringify(input)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const exited = once(child, "exit");
      try {
        for await (const line of createInterface({ input: child.stdout! })) if (line === step) break;
      } finally {
        child.kill("SIGKILL");
        await exited;
      }
    };
    const nothingLeft = async (state: "gone" | "halted") => {
      const next = test.open();
      expect(await next.find(id, {})).toEqual({ state, endpoint: null });
      expect(test.processes(id)).toEqual([]);
      await next.remove(id, null);
      expect(test.traces(id)).toEqual([]);
    };

    it("before anything was made, there is nothing", async () => {
      await killedAt("record", asked(), true);
      await nothingLeft("gone");
    });

    it.each(["starting the virtual machine", "booting"])(
      "while it says «%s», half a start is ended",
      async (step) => {
        await killedAt(step, asked("deaf"));
        await nothingLeft("halted");
      },
    );

    describeWith([swtpm], "and there is a TPM", () => {
      it("and QEMU after it, the TPM's program ends by itself", async () => {
        await killedAt("running", asked("", { tpm: true }));
        const programOf = (pid: number) => basename(readlinkSync(`/proc/${pid}/exe`));
        const qemu = test.processes(id).find((pid) => programOf(pid) !== "swtpm")!;
        process.kill(qemu, "SIGKILL");
        await expect.poll(() => test.processes(id)).toEqual([]);
        await nothingLeft("halted");
      });
    });

    it("before it wrote down which process QEMU is, QEMU is found by its mark", async () => {
      await killedAt("booting", asked("deaf"));
      const note = JSON.parse(readFileSync(noteFile(), "utf8"));
      expect(test.processes(id)).toEqual([note.qemu.pid]);
      writeFileSync(noteFile(), JSON.stringify({ ...note, qemu: null }));
      await nothingLeft("halted");
    });

    it("and its notes with it, the next one still ends what it left", async () => {
      await killedAt("booting", asked("deaf"));
      writeFileSync(noteFile(), "{");
      expect(await test.machines.list()).toContain(id);
      expect(await test.machines.reap(new Set())).toBe(1);
      expect(test.traces(id)).toEqual([]);
    });

    it("while a machine runs, the next one finds it, speaks with it, hears of it, and ends it", async () => {
      await killedAt("running");
      const pid = qemuOf();
      const found = await test.machines.find(id, {});
      expect(found).toEqual({ state: "running", endpoint: { host: "127.0.0.1", port: expect.any(Number) } });
      expect(qemuOf()).toBe(pid);
      expect(await test.machines.find(id, {})).toEqual(found);
      expect((await test.machines.guest(id)).welcome.agent).toBe("small");
      await inside(found.endpoint, "echo heard again > /dev/console");
      await expect.poll(() => logOf("console")).toContain("heard again");
      tell(found.endpoint, "poweroff -f");
      await changed();
      expect(test.changes[0]).toMatchObject({
        state: "halted",
        detail: "shut down from inside",
        orderly: true,
      });
    });

    it("and QEMU is stopped so that it answers nobody, it is ended and not believed", async () => {
      await killedAt("running");
      process.kill(qemuOf(), "SIGSTOP");
      const next = test.open({ answerMs: 1_000 });
      expect(await next.find(id, {})).toEqual({ state: "halted", endpoint: null });
      expect(test.processes(id)).toEqual([]);
    });
  });

  it("run on when their host process ends well, and the next one halts them in order", async () => {
    const machines = test.open();
    await start(machines);
    const pid = qemuOf();
    await machines.close();
    expect(qemuOf()).toBe(pid);
    const next = test.open();
    await next.halt(id, null);
    expect(test.processes(id)).toEqual([]);
    expect(await logOf(null, next)).toEqual(["starting", "running", "asked to shut down", "halted"]);
  });

  describeWith([swtpm], "with a TPM", () => {
    const programOf = (pid: number) => basename(readlinkSync(`/proc/${pid}/exe`));
    const programs = () => test.processes(id).map(programOf).sort();
    const pidOf = (program: string) => test.processes(id).find((pid) => programOf(pid) === program)!;
    const QEMU = "qemu-system-x86_64";
    const tpmState = () => join(test.options.folder, "vms", id, "tpm/tpm2-00.permall");

    it("show it to their guest, keep it over a halt, and leave nothing of it when they are removed", async () => {
      const ask = asked("", { tpm: true });
      const { endpoint } = await start(test.machines, ask);
      expect(programs()).toEqual([QEMU, "swtpm"]);
      expect(await inside(endpoint, "cat /sys/class/tpm/tpm0/tpm_version_major")).toBe("2");
      if (root.met) {
        const [tpm, qemu] = [statusOf(pidOf("swtpm")), statusOf(pidOf(QEMU))];
        expect(tpm.uids[0]).not.toBe(qemu.uids[0]);
        expect(Object.values(tpm.capabilities).map((set) => BigInt(`0x${set}`))).toEqual([
          0n,
          0n,
          0n,
          0n,
          0n,
        ]);
        // A network of its own, with nothing in it.
        const networkOf = (pid: number | string) => readlinkSync(`/proc/${pid}/ns/net`);
        expect(networkOf(pidOf("swtpm"))).not.toBe(networkOf("self"));
        expect(readFileSync(`/proc/${pidOf("swtpm")}/net/dev`, "utf8")).not.toMatch(/^ *(?!lo\b)\w+:/m);
        const folder = join(test.options.folder, "vms", id, "tpm");
        expect(statSync(folder)).toMatchObject({ uid: tpm.uids[0], mode: 0o040700 });
      }
      await test.machines.halt(id, null);
      expect(test.processes(id)).toEqual([]);
      expect(statSync(tpmState()).size).toBeGreaterThan(1_000);
      await start(test.machines, ask);
      await test.machines.remove(id, null);
      expect(test.traces(id)).toEqual([]);
    });

    describeWith([firmware], "and firmware", () => {
      it("measure what was started into it", async () => {
        const ask = asked("", { tpm: true, firmware: FIRMWARE });
        const { endpoint } = await start(test.machines, ask, () => {}, 256);
        const log = await inside(
          endpoint,
          "mount -t securityfs none /sys/kernel/security; wc -c < /sys/kernel/security/tpm0/binary_bios_measurements; cat /sys/class/tpm/tpm0/pcr-sha256/4",
        );
        const [bytes, pcr4] = log.split("\n");
        expect(Number(bytes)).toBeGreaterThan(1_000);
        expect(pcr4).toMatch(/^[0-9A-F]{64}$/);
        expect(pcr4).not.toMatch(/^0+$/);
      });
    });
  });

  describeWith([root], "as root", () => {
    it("have a uid of their own, no capability, a system call filter and limits", async () => {
      await start();
      const pid = qemuOf();
      const status = statusOf(pid);
      const { base, count } = test.options.uids!;
      const uid = status.uids[0]!;
      expect(uid).toBeGreaterThanOrEqual(base);
      expect(uid).toBeLessThan(base + count);
      expect(status).toMatchObject({ uids: [uid, uid, uid, uid], gids: [uid, uid, uid, uid], groups: [] });
      expect(Object.values(status.capabilities).map((set) => BigInt(`0x${set}`))).toEqual([
        0n,
        0n,
        0n,
        0n,
        0n,
      ]);
      expect(status.noNewPrivs).toBe(true);
      expect(readFileSync(`/proc/${pid}/status`, "utf8")).toMatch(/^Seccomp:\t2$/m);
      expect(readFileSync(`/proc/${pid}/limits`, "utf8")).toMatch(/^Max core file size +0 +0 /m);
      expect(readFileSync(`/proc/${pid}/cgroup`, "utf8")).toContain(`${test.options.owner}/${id}`);
      const own = join(test.options.folder, "vms", id);
      expect(statSync(own).uid).toBe(0);
      expect(statSync(join(own, "state.img"))).toMatchObject({ uid, mode: 0o100600 });
      expect(statSync(join(own, "run"))).toMatchObject({ uid, mode: 0o040700 });
    });
  });
});
