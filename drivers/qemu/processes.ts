// SPDX-License-Identifier: Apache-2.0
/**
 * The processes of a machine, its QEMU and the program that plays its TPM, and starting them. A process is the machine's when it has the pid and the
 * start time of the note in the same boot, is in a cgroup of the machine, or has its mark in its environment,
 * which it was started with and which a QEMU that may start no program cannot give to another. Never by a
 * pid alone: numbers are reused.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { statSync } from "node:fs";
import { processMark } from "../docker/marks.ts";
import { type Cgroups, type MachineCgroups, processesIn } from "../sandbox/cgroups.ts";
import { bootId, isAlive, listPids, startTime, statusFields, tryRead } from "../sandbox/process-table.ts";

/** One process of one boot of this computer. */
export interface Known {
  pid: number;
  pidStart: string;
  bootId: string;
}

export const isRunning = (known: Known | null): known is Known =>
  known !== null && known.bootId === bootId() && isAlive(known);

export const knownOf = (pid: number): Known | null => {
  const pidStart = startTime(pid);
  return pidStart === null ? null : { pid, pidStart, bootId: bootId() };
};

export function processesOf(
  owner: string,
  machineId: string,
  known: Known | null,
  cgroups: MachineCgroups,
): Set<number> {
  const found = new Set(cgroups.paths.flatMap(processesIn));
  if (isRunning(known)) found.add(known.pid);
  for (const pid of listPids()) if (marksOf(pid).includes(processMark(owner, machineId))) found.add(pid);
  found.delete(process.pid);
  return found;
}

/** Machines of which something runs. */
export function listMarked(owner: string): Set<string> {
  const start = processMark(owner, "");
  return new Set(
    listPids()
      .flatMap(marksOf)
      .filter((word) => word.startsWith(start))
      .map((word) => word.slice(start.length)),
  );
}

const marksOf = (pid: number): string[] => tryRead(`/proc/${pid}/environ`)?.split("\0") ?? [];

export interface ProgramStart {
  program: string;
  words: string[];
  owner: string;
  machineId: string;
  /** Null: as we are. */
  uid: number | null;
  /** Beside the one that has the number of its uid. */
  groups: readonly number[];
  cgroupFiles: string[];
  /** A program and its words that becomes the one to start, while it is still root. */
  through?: readonly string[];
}

/** Joins its cgroups before it has a second thread, leaves no memory in a core file, and becomes the program. */
const JOIN = `n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1" || exit 1; shift; n=$((n-1)); done; ulimit -c 0; exec "$@"`;

/**
 * A session of its own, so that nothing sent to ours reaches it: it outlives this process. Its last words
 * come by a pipe, since a file could be filled; when nobody holds the other end they are lost.
 */
export function startProgram(start: ProgramStart): ChildProcess {
  const { program, words, owner, machineId, uid, groups, cgroupFiles, through = [] } = start;
  const dropped =
    uid === null
      ? []
      : [
          ...["setpriv", "--reuid", String(uid), "--regid", String(uid)],
          ...(groups.length > 0 ? ["--groups", groups.join(",")] : ["--clear-groups"]),
          ...["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--"],
        ];
  const [mark, value] = processMark(owner, machineId).split("=") as [string, string];
  const joined = ["-c", JOIN, "join", String(cgroupFiles.length), ...cgroupFiles];
  return spawn("/bin/sh", [...joined, ...through, ...dropped, program, ...words], {
    cwd: "/",
    detached: true,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C", [mark]: value },
    stdio: ["ignore", "ignore", "pipe"],
  });
}

/** Whoever may use /dev/kvm; none where everybody may or where it is not used. */
export const kvmGroups = (kvm: boolean): number[] => (kvm ? [statSync("/dev/kvm").gid] : []);

const TICK_NS = 10_000_000;
const KIB = 1024;

export interface Usage {
  cpuNs: number;
  memoryBytes: number;
}

/** What QEMU uses on this computer: the guest's memory as far as it was touched, and QEMU's own. Null when it is gone. */
export function usageOf(known: Known | null): Usage | null {
  if (!isRunning(known)) return null;
  const stat = tryRead(`/proc/${known.pid}/stat`);
  const memory = /^(\d+) kB$/.exec(statusFields(known.pid)?.get("VmRSS") ?? "");
  if (stat === null || memory === null) return null;
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[11]) + Number(fields[12]);
  return { cpuNs: ticks * TICK_NS, memoryBytes: Number(memory[1]) * KIB };
}

/** Memory of QEMU itself beside the guest's; what emulation translated is bounded by the words. */
const OVERHEAD_MIB = { kvm: 256, tcg: 640 };
/** Threads: one for each cpu, its own, and a pool for disks. */
const THREADS = 96;

export function limitMachine(
  cgroups: Cgroups,
  machineId: string,
  limits: { memoryMiB: number; cpuMillis: number; cpus: number; accelerator: "kvm" | "tcg" },
): MachineCgroups {
  return cgroups.create(machineId, {
    memoryMiB: limits.memoryMiB + OVERHEAD_MIB[limits.accelerator],
    cpuMillis: limits.cpuMillis,
    pidsMax: THREADS + limits.cpus,
  });
}
