// SPDX-License-Identifier: Apache-2.0
/**
 * Makes a sandbox: bubblewrap is started as the machine's own uid, held at `--block-fd` until its
 * process is in the machine's cgroups, and released. Nothing else is started on this path.
 *
 * The order is what a kill -9 of the host at any moment can be survived with:
 *  A. The record with uid and cgroup paths is stored before either is used.
 *  B. bubblewrap dies with us (--die-with-parent), and process 1 with bubblewrap.
 *  C. The record with pid and inodes is stored before the machine is reported as started.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import type { MachineSpec } from "#contract/link/machine.ts";
import { DriverFault } from "../driver.ts";
import { bwrapArguments, planTmpfs } from "./arguments.ts";
import { type Cgroups, joinFolders, removeTree } from "./cgroups.ts";
import { closeAll, type HeldMount, type Sandbox } from "./machine.ts";
import { mountLines, startTime, statusFields } from "./process-table.ts";
import { NAMESPACE_KINDS, type NamespaceKind, type SandboxRecord, type StartedFacts } from "./record.ts";

const START_TIMEOUT_MS = 15_000;

export interface StartPlan {
  machineId: string;
  owner: string;
  spec: MachineSpec;
  record: SandboxRecord;
  cgroups: Cgroups;
  /** Arguments that make the root. */
  root: string[];
  /** File with the seccomp filter. */
  filterPath: string;
  onRecord(record: SandboxRecord): Promise<void>;
}

export async function startSandbox(plan: StartPlan): Promise<Sandbox> {
  const { machineId, record, spec, cgroups } = plan;
  await plan.onRecord(record);
  const folders = cgroups.create(machineId, spec);
  const tmpfs = planTmpfs(spec.memoryMiB);
  const fds: number[] = [];
  let monitor: ChildProcess | undefined;
  let gone = Promise.resolve();
  try {
    const filter = openSync(plan.filterPath, "r");
    try {
      const args = bwrapArguments({
        machineId,
        owner: plan.owner,
        root: plan.root,
        tmpfs,
        fds: { seccomp: 3, info: 4, block: 5, canary: 6 },
      });
      monitor = spawn("/usr/bin/bwrap", args, {
        env: { PATH: "/usr/bin:/bin" },
        cwd: "/",
        stdio: ["ignore", "pipe", "pipe", filter, "pipe", "pipe", "pipe"],
        ...(record.uid === null ? {} : { uid: record.uid, gid: record.uid }),
      });
    } finally {
      closeSync(filter);
    }
    const child = monitor;
    gone = new Promise((resolve) => {
      child.once("exit", () => resolve());
      child.once("error", () => resolve());
    });
    const talk = listen(child);
    // Not through our descriptor: the tmpfs belongs to a user namespace in which the host's root is nobody.
    (child.stdio as unknown as Writable[])[6]!.end(record.canaryHex);
    const pid = await talk.pid;
    const pidStart = startTime(pid);
    joinFolders(cgroups.firstOf(folders), pid);
    const block = (child.stdio as unknown as Writable[])[5]!;
    block.end("1");
    await talk.up;

    const namespaces: Partial<Record<NamespaceKind, number>> = {};
    const inodes: Partial<Record<NamespaceKind, string>> = {};
    for (const kind of NAMESPACE_KINDS) {
      const fd = openSync(`/proc/${pid}/ns/${kind}`, "r");
      fds.push(fd);
      const inode = String(statSync(`/proc/self/fd/${fd}`).ino);
      // cgroup namespaces may be missing or shared (`--unshare-cgroup-try`); the host's is not the session's.
      if (inode === String(statSync(`/proc/self/ns/${kind}`).ino)) {
        if (kind !== "cgroup")
          throw new DriverFault("machine.start-failed", `the ${kind} namespace is the host's`);
        continue;
      }
      namespaces[kind] = fd;
      inodes[kind] = inode;
    }
    const lines = mountLines(pid) ?? [];
    const mounts: HeldMount[] = tmpfs.map(({ target, sizeBytes }) => {
      const line = lines.findLast((each) => each.target === target);
      if (!line) throw new DriverFault("machine.start-failed", `no mount at ${target}`);
      const fd = openSync(`/proc/${pid}/root${target}`, "r");
      fds.push(fd);
      return { target, options: line.options, sizeBytes, mountId: line.mountId, device: line.device, fd };
    });
    const status = statusFields(pid);
    // Everything above went through the pid. It is still the same process, so it was all along.
    if (pidStart === null || startTime(pid) !== pidStart || status === null)
      throw new DriverFault("machine.start-failed", "the first process ended at once");
    const started: StartedFacts = {
      pid,
      pidStart,
      namespaces: inodes as Record<NamespaceKind, string>,
      mounts: mounts.map(({ fd: _, ...facts }) => facts),
      seccompMode: Number(status.get("Seccomp")),
      noNewPrivs: status.get("NoNewPrivs") === "1",
      capabilitiesEffective: status.get("CapEff") ?? "",
    };
    if (started.seccompMode !== 2 || !started.noNewPrivs || !/^0{16}$/.test(started.capabilitiesEffective))
      throw new DriverFault("machine.start-failed", "the first process is not confined as it must be");
    const complete: SandboxRecord = { ...record, started };
    await plan.onRecord(complete);
    return {
      machineId,
      record: complete,
      started,
      cgroups: folders,
      monitor: child,
      gone,
      namespaces,
      mounts,
      work: new Set(),
      entries: new Set(),
      commands: 0,
      oomKillsSeen: 0,
      memoryMiB: spec.memoryMiB,
      pidsMax: spec.pidsMax,
    };
  } catch (cause) {
    // Nothing may be left behind: process 1 dies with its monitor, and the monitor is our own child.
    if (monitor?.pid !== undefined) {
      monitor.kill("SIGKILL");
      await gone;
    }
    closeAll(fds);
    await removeFolders(folders.paths);
    if (cause instanceof DriverFault) throw cause;
    throw new DriverFault("machine.start-failed", (cause as Error).message, { cause });
  }
}

/** rmdir fails for the moment in which the kernel still takes a dead process out of the folder. */
export async function removeFolders(paths: readonly string[], forMs = 2000): Promise<boolean> {
  const deadline = performance.now() + forMs;
  for (let waitMs = 1; ; waitMs = Math.min(50, waitMs * 2)) {
    if (paths.map(removeTree).every(Boolean)) return true;
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

/** What bubblewrap and process 1 say while they start. */
function listen(child: ChildProcess): { pid: Promise<number>; up: Promise<void> } {
  let complaint = "";
  child.stderr!.on("data", (bytes: Buffer) => {
    if (complaint.length < 2000) complaint += bytes;
  });
  let fail = (_: Error) => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => {});
  const late = setTimeout(() => fail(new Error("bubblewrap did not start in time")), START_TIMEOUT_MS);
  child.once("error", (cause) => fail(new Error("bwrap did not start", { cause })));
  child.once("close", (code) => {
    clearTimeout(late);
    fail(new Error(`bwrap ended (${code}): ${complaint.trim()}`));
  });
  for (const stream of child.stdio) stream?.on("error", () => {});

  const pid = new Promise<number>((resolve) => {
    let info = "";
    (child.stdio[4] as Readable).on("data", (bytes: Buffer) => {
      info += bytes;
      const found = info.match(/"child-pid":\s*(\d+)/);
      if (found) resolve(Number(found[1]));
    });
  });
  const up = new Promise<void>((resolve) => {
    child.stdout!.once("data", () => {
      clearTimeout(late);
      resolve();
    });
  });
  return { pid: Promise.race([pid, failed]), up: Promise.race([up, failed]) };
}

/** The seccomp filter as a file, written once: every start opens it anew because readers share an offset. */
export function writeFilter(path: string, filter: Buffer): void {
  if (safeRead(path)?.equals(filter)) return;
  writeFileSync(path, filter, { mode: 0o644 });
}

function safeRead(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch {
    return null;
  }
}
