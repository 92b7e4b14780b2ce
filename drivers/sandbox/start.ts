// SPDX-License-Identifier: Apache-2.0
/**
 * Makes a sandbox: bubblewrap is started as the machine's own uid and inside the machine's cgroups.
 * Nothing else is started on this path.
 *
 * The order is what a kill -9 of the host at any moment can be survived with:
 *  A. The record with uid and cgroup paths is stored before either is used.
 *  B. bubblewrap dies with the launcher (--die-with-parent), which dies with us, and process 1 with bubblewrap.
 *  C. The record with pid and inodes is stored before the machine is reported as started.
 */
import { openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { DriverFault } from "../driver.ts";
import { bwrapArguments, planTmpfs } from "./arguments.ts";
import { type Cgroups, processesIn, removeTree } from "./cgroups.ts";
import type { Launcher, Monitor } from "./launcher.ts";
import { closeAll, type HeldMount, type Sandbox } from "./machine.ts";
import type { Prober } from "./prober/client.ts";
import { mountLines, startTime, statusFields } from "./process-table.ts";
import { NAMESPACE_KINDS, type NamespaceKind, type SandboxRecord, type StartedFacts } from "./record.ts";
import { CORE_LIMIT_BYTES } from "./rlimits.ts";
import type { Shape } from "./spares.ts";

const START_TIMEOUT_MS = 15_000;

export interface StartPlan {
  machineId: string;
  owner: string;
  spec: Shape;
  record: SandboxRecord;
  cgroups: Cgroups;
  launcher: Launcher;
  prober: Prober;
  /** Arguments that make the root. */
  root: string[];
  /** File with the seccomp filter. */
  filterPath: string;
  onRecord(record: SandboxRecord): Promise<void>;
}

export async function startSandbox(plan: StartPlan): Promise<Sandbox> {
  const { machineId, record, spec, cgroups } = plan;
  const canarySinceMs = Date.now();
  await plan.onRecord(record);
  const folders = cgroups.create(machineId, spec);
  const tmpfs = planTmpfs(spec.memoryMiB);
  const fds: number[] = [];
  let monitor: Monitor | undefined;
  try {
    monitor = plan.launcher.startMachine({
      uid: record.uid,
      filterPath: plan.filterPath,
      // Not through a descriptor of ours: the tmpfs belongs to a user namespace in which the host's root is nobody.
      canaryHex: record.canaryHex,
      cgroupFiles: cgroups.firstOf(folders),
      args: bwrapArguments({
        machineId,
        owner: plan.owner,
        root: plan.root,
        tmpfs,
        fds: { seccomp: 3, info: 4, canary: 5 },
      }),
    });
    await inTime(monitor.up);
    const pid = await monitor.pid;
    const pidStart = startTime(pid);
    const asking = plan.prober.ask({ kind: "first", pid });
    asking.catch(() => {});

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
    const { network, coreLimitBytes, ...first } = await asking;
    // Everything above went through the pid. It is still the same process, so it was all along.
    if (pidStart === null || first.pidStart !== pidStart || startTime(pid) !== pidStart || status === null)
      throw new DriverFault("machine.start-failed", "the first process ended at once");
    // And it was the machine's when its number was told: nobody else has this uid.
    if (record.uid !== null && !status.get("Uid")?.startsWith(`${record.uid}\t`))
      throw new DriverFault("machine.start-failed", "the first process is somebody else");
    const confined =
      first.seccompMode === 2 && first.noNewPrivs && /^0{16}$/.test(first.capabilitiesEffective);
    const coreless = coreLimitBytes !== null && coreLimitBytes <= CORE_LIMIT_BYTES;
    if (!confined || !coreless || network !== "none")
      throw new DriverFault("machine.start-failed", "the first process is not confined as it must be");
    const started: StartedFacts = {
      ...first,
      pid,
      namespaces: inodes as Record<NamespaceKind, string>,
      mounts: mounts.map(({ fd: _, ...facts }) => facts),
      network,
      coreLimitBytes,
    };
    const complete: SandboxRecord = { ...record, started };
    await plan.onRecord(complete);
    return {
      machineId,
      record: complete,
      started,
      cgroups: folders,
      monitor,
      namespaces,
      mounts,
      work: new Set(),
      entries: new Set(),
      commands: 0,
      oomKillsSeen: 0,
      canarySinceMs,
      memoryMiB: spec.memoryMiB,
      pidsMax: spec.pidsMax,
    };
  } catch (cause) {
    await abandon(monitor, folders.paths, fds);
    if (cause instanceof DriverFault) throw cause;
    throw new DriverFault("machine.start-failed", (cause as Error).message, { cause });
  }
}

/** Ends what served nobody; nothing may be left behind. */
export function abandonSandbox({ monitor, cgroups, namespaces, mounts }: Sandbox): Promise<void> {
  return abandon(monitor, cgroups.paths, [...Object.values(namespaces), ...mounts.map(({ fd }) => fd)]);
}

async function abandon(monitor: Monitor | undefined, paths: readonly string[], fds: number[]): Promise<void> {
  // Process 1 dies with its monitor, and its answer comes when both are gone.
  monitor?.kill();
  await monitor?.gone;
  // A bubblewrap that died half-way may not have bound its child's life to its own yet.
  for (const pid of paths.flatMap(processesIn)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {}
  }
  closeAll(fds);
  await removeFolders(paths);
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

async function inTime(up: Promise<void>): Promise<void> {
  let late: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    late = setTimeout(() => reject(new Error("bubblewrap did not start in time")), START_TIMEOUT_MS);
  });
  try {
    await Promise.race([up, deadline]);
  } finally {
    clearTimeout(late);
  }
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
