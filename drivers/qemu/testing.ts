// SPDX-License-Identifier: Apache-2.0
/** A QEMU for tests: the program of this computer, with no machine in it or with a real one. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, globSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Requirement, root } from "#testing/requirements.ts";
import type { KeptChange } from "../kept-driver.ts";
import { findCgroups } from "../sandbox/cgroups.ts";
import { VirtualMachines, type VmOptions } from "./machines.ts";
import { processesOf } from "./processes.ts";
import { connectSoon } from "./sockets.ts";
import { findKernel } from "./trial.ts";

export const PROGRAM = "/usr/bin/qemu-system-x86_64";

export const qemu: Requirement = {
  met: process.arch === "x64" && existsSync(PROGRAM),
  reason: "needs QEMU on x86-64 (apt-get install qemu-system-x86)",
};

export const swtpm: Requirement = {
  met: existsSync("/usr/bin/swtpm"),
  reason: "needs swtpm (apt-get install swtpm)",
};

/** Makes TPMs with certificates. */
export const swtpmSetup: Requirement = {
  met: existsSync("/usr/bin/swtpm_setup"),
  reason: "needs swtpm_setup (apt-get install swtpm-tools)",
};

export const FIRMWARE = {
  code: "/usr/share/OVMF/OVMF_CODE_4M.fd",
  variables: "/usr/share/OVMF/OVMF_VARS_4M.fd",
};
export const firmware: Requirement = {
  met: existsSync(FIRMWARE.code),
  reason: "needs OVMF (apt-get install ovmf)",
};

export const kernel: Requirement = {
  met: findKernel("") !== null,
  reason: "needs a kernel in /boot (apt-get install linux-image-cloud-amd64)",
};

/** Whether the QEMU of this computer knows an object: what it refuses it says in words. */
export const knowsObject = (name: string): Requirement => ({
  met: qemu.met && spawnSync(PROGRAM, ["-object", `${name},help`], { stdio: "ignore" }).status === 0,
  reason: `needs a QEMU that knows ${name} (Debian 13 or later)`,
});

export interface BareQemu {
  /** Another conversation; QEMU has one at a time. */
  connect(): Promise<Socket>;
  child: ChildProcess;
  close(): Promise<void>;
}

/** Runs no instruction: there is a control socket and nothing behind it. */
export function openQemu(words: readonly string[]): BareQemu {
  const folder = mkdtempSync(join(tmpdir(), "casemate-qmp-"));
  const socketPath = join(folder, "qmp");
  const quiet = ["-nodefaults", "-no-user-config", "-display", "none", "-S"];
  const child = spawn(PROGRAM, [...quiet, ...words, "-qmp", `unix:${socketPath},server=on,wait=off`], {
    stdio: "ignore",
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const close = async () => {
    child.kill("SIGKILL");
    await exited;
    rmSync(folder, { recursive: true, force: true });
  };
  // Ended by itself, it is waited for no longer.
  const over = new AbortController();
  void exited.then(() => over.abort(new Error("QEMU ended")));
  return { connect: () => connectSoon(socketPath, over.signal), child, close };
}

/** Uids of no other test. */
const UIDS = { base: 1_600_000_000 + (process.pid % 10_000) * 100, count: 100 };

export interface TestMachines {
  options: VmOptions;
  machines: VirtualMachines;
  changes: ({ machineId: string } & KeptChange)[];
  /** Another driver on the same folder, as the next host process has it. */
  open(more?: Partial<VmOptions>): VirtualMachines;
  processes(machineId: string): number[];
  /** Everything that this computer has of a machine. */
  traces(machineId: string): string[];
  close(): Promise<void>;
}

export function openMachines(): TestMachines {
  const folder = mkdtempSync(join(tmpdir(), "casemate-vm-"));
  chmodSync(folder, 0o711);
  const options: VmOptions = {
    ...{ folder, owner: `test-vm-${process.pid}-${folder.slice(-6).toLowerCase()}`, program: PROGRAM },
    tpmProgram: "/usr/bin/swtpm",
    tpmSetupProgram: null,
    networks: null,
    ...{ accelerator: "tcg", seccomp: true, uids: root.met ? UIDS : null },
    ...{ answerMs: 60_000, bootMs: 100_000, shutdownMs: 60_000 },
  };
  const opened: VirtualMachines[] = [];
  const open = (more: Partial<VmOptions> = {}) => {
    const machines = new VirtualMachines({ ...options, ...more });
    opened.push(machines);
    return machines;
  };
  const machines = open();
  const changes: TestMachines["changes"] = [];
  machines.onChange((machineId, change) => changes.push({ machineId, ...change }));
  const cgroups = findCgroups(options.owner);
  const processes = (machineId: string) => [
    ...processesOf(options.owner, machineId, null, cgroups.plan(machineId)),
  ];
  return {
    ...{ options, machines, changes, open, processes },
    traces: (machineId) => [
      ...processes(machineId).map((pid) => `process ${pid}`),
      ...globSync(`/sys/fs/cgroup/**/${options.owner}/${machineId}`),
      ...readdirSync(folder, { recursive: true })
        .map(String)
        .filter((path) => path.includes(machineId)),
    ],
    close: async () => {
      try {
        await open().reap(new Set());
        for (const each of opened) await each.close();
      } finally {
        cgroups.close();
        rmSync(folder, { recursive: true, force: true });
      }
    },
  };
}
