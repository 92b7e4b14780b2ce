// SPDX-License-Identifier: Apache-2.0
/**
 * One sandbox as a session gets it: the driver's own arguments, seccomp filter and launcher, a uid of its
 * own when we are root. It is judged by what the kernel says of its first process, then ended.
 * Cgroups are left out: on some systems the driver has to move processes to get them, which a check must
 * not do; they have a check of their own.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { assembleFilter } from "#confine/seccomp.ts";
import type { Machine } from "#confine/syscalls.ts";
import { bwrapArguments, planTmpfs, rootArguments } from "#drivers/sandbox/arguments.ts";
import { Launcher } from "#drivers/sandbox/launcher.ts";
import { namespaceInode, statusFields } from "#drivers/sandbox/process-table.ts";
import { NAMESPACE_KINDS } from "#drivers/sandbox/record.ts";
import { prepareSkeleton } from "#drivers/sandbox/skeleton.ts";
import { writeFilter } from "#drivers/sandbox/start.ts";

/** Outside of the ranges that machines and the prober get theirs from. */
const TRIAL_UID = 1_899_999_998;
const MEMORY_MIB = 64;

export interface SandboxTrial {
  startedInMs: number;
  seccompMode: number;
  noNewPrivs: boolean;
  capabilities: string;
  /** Namespaces that are the caller's own. */
  shared: string[];
}

export async function trySandbox(temporary: string, uid: number, signal: AbortSignal): Promise<SandboxTrial> {
  const folder = mkdtempSync(join(passable(temporary) ? temporary : "/run", "casemate-doctor-sandbox-"));
  chmodSync(folder, 0o755);
  const launcher = new Launcher("machines");
  // The launcher takes what it started along.
  const end = () => void launcher.close();
  signal.addEventListener("abort", end, { once: true });
  try {
    const filterPath = join(folder, "filter.bpf");
    writeFilter(filterPath, assembleFilter(process.arch as Machine));
    const begun = performance.now();
    const monitor = launcher.startMachine({
      uid: uid === 0 ? TRIAL_UID : null,
      filterPath,
      canaryHex: randomBytes(32).toString("hex"),
      cgroupFiles: [],
      args: bwrapArguments({
        machineId: `mach_${randomBytes(16).toString("hex")}`,
        owner: `doctor-${process.pid}`,
        root: rootArguments(null, prepareSkeleton(folder)),
        tmpfs: planTmpfs(MEMORY_MIB),
        fds: { seccomp: 3, info: 4, canary: 5 },
      }),
    });
    await monitor.up;
    const startedInMs = Math.round(performance.now() - begun);
    const pid = await monitor.pid;
    const status = statusFields(pid);
    const shared = NAMESPACE_KINDS.filter((kind) => {
      const inode = namespaceInode(pid, kind);
      // Where the kernel has no such namespace, and for cgroups, which bubblewrap only tries for, there is none.
      return kind !== "cgroup" && inode === namespaceInode(process.pid, kind);
    });
    monitor.kill();
    await monitor.gone;
    return {
      startedInMs,
      seccompMode: Number(status?.get("Seccomp") ?? 0),
      noNewPrivs: status?.get("NoNewPrivs") === "1",
      capabilities: status?.get("CapEff") ?? "unknown",
      shared,
    };
  } finally {
    signal.removeEventListener("abort", end);
    await launcher.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Whether the trial's uid can enter it, all the way down. */
function passable(folder: string): boolean {
  for (let path = folder; path !== "/"; path = dirname(path))
    if ((statSync(path).mode & 0o001) === 0) return false;
  return true;
}
