// SPDX-License-Identifier: Apache-2.0
/**
 * The limits of a machine as a whole: its containers are cgroups below one of ours, so that ten services
 * have together what the machine has. Docker has two ways of naming that one:
 *
 *   cgroupfs   a path below the root of every hierarchy, made and limited here (v1 and v2)
 *   systemd    a slice, limited by `systemctl set-property --runtime`
 *
 * Here and in the tests cgroupfs on v1 has run. v2 with cgroupfs and the systemd way are written from
 * the kernel's and systemd's documentation and have not been run.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { mustRun, runProgram } from "./program.ts";

const ROOT = "/sys/fs/cgroup";
const MIB = 1024 * 1024;
const PERIOD_US = 100_000;
const TIMEOUT_MS = 20_000;

export interface CgroupKind {
  driver: "cgroupfs" | "systemd";
  version: 1 | 2;
}

export interface Limits {
  cpuMillis: number;
  memoryMiB: number;
  pidsMax: number;
}

/** What Docker is told as `cgroup_parent`. */
export const cgroupParent = (kind: CgroupKind, owner: string, machineId: string) =>
  kind.driver === "systemd" ? sliceOf(owner, machineId) : `/casemate/${owner}/${machineId}`;

/** systemd reads a dash as one level of nesting. */
const sliceOf = (owner: string, machineId: string) =>
  `casemate-${owner.replaceAll("-", "_")}-${machineId}.slice`;

export async function limitMachine(
  kind: CgroupKind,
  owner: string,
  machineId: string,
  limits: Limits,
): Promise<void> {
  const parent = cgroupParent(kind, owner, machineId);
  if (kind.driver === "systemd") {
    const properties = [
      `MemoryMax=${limits.memoryMiB}M`,
      "MemorySwapMax=0",
      `TasksMax=${limits.pidsMax}`,
      `CPUQuota=${Math.max(1, Math.round(limits.cpuMillis / 10))}%`,
    ];
    await mustRun(["systemctl", "set-property", "--runtime", parent, ...properties], {
      timeoutMs: TIMEOUT_MS,
    });
    await mustRun(["systemctl", "start", parent], { timeoutMs: TIMEOUT_MS });
    return;
  }
  const quota = Math.max(1000, Math.round((limits.cpuMillis * PERIOD_US) / 1000));
  if (kind.version === 2) return limitUnified(join(ROOT, parent), limits, quota);
  const set = (controller: string, values: [string, string][]) => {
    const folder = join(hierarchyOf(controller), parent);
    mkdirSync(folder, { recursive: true });
    for (const [file, value] of values) writeFileSync(join(folder, file), value);
  };
  const bytes = String(limits.memoryMiB * MIB);
  const swap = existsSync(join(hierarchyOf("memory"), "memory.memsw.limit_in_bytes"));
  // Memory with swap may never be below memory: first out of the way, then each to its value.
  if (swap) set("memory", [["memory.memsw.limit_in_bytes", "-1"]]);
  set("memory", [["memory.limit_in_bytes", bytes]]);
  if (swap) set("memory", [["memory.memsw.limit_in_bytes", bytes]]);
  set("pids", [["pids.max", String(limits.pidsMax)]]);
  set("cpu", [
    ["cpu.cfs_period_us", String(PERIOD_US)],
    ["cpu.cfs_quota_us", String(quota)],
  ]);
}

/** A v2 group hands controllers down only where its own parent did. */
function limitUnified(folder: string, limits: Limits, quota: number): void {
  mkdirSync(folder, { recursive: true });
  const above = [dirname(dirname(folder)), dirname(folder)];
  for (const each of [ROOT, ...above])
    writeFileSync(join(each, "cgroup.subtree_control"), "+cpu +memory +pids");
  writeFileSync(join(folder, "memory.max"), String(limits.memoryMiB * MIB));
  if (existsSync(join(folder, "memory.swap.max"))) writeFileSync(join(folder, "memory.swap.max"), "0");
  writeFileSync(join(folder, "pids.max"), String(limits.pidsMax));
  writeFileSync(join(folder, "cpu.max"), `${quota} ${PERIOD_US}`);
}

/** Removes the machine's groups; its containers have ended. Idempotent. */
export async function removeCgroups(kind: CgroupKind, owner: string, machineId: string): Promise<void> {
  if (kind.driver === "systemd") {
    const slice = sliceOf(owner, machineId);
    await runProgram(["systemctl", "stop", slice], { timeoutMs: TIMEOUT_MS });
    await runProgram(["systemctl", "revert", slice], { timeoutMs: TIMEOUT_MS });
    return;
  }
  for (const base of basesOf(owner)) {
    await removeTree(join(base, machineId));
    for (const empty of [base, dirname(base)]) tryRemove(empty);
  }
}

/** Ids of machines that have a group of this owner; systemd's are found by their files. */
export function listCgroups(kind: CgroupKind, owner: string): string[] {
  const names =
    kind.driver === "systemd"
      ? readOrNone("/run/systemd/system.control").map((name) => {
          const start = sliceOf(owner, "");
          const head = start.slice(0, -".slice".length);
          return name.startsWith(head) ? name.slice(head.length).replace(/\.slice\.d$/, "") : "";
        })
      : basesOf(owner).flatMap(readOrNone);
  return [...new Set(names.filter((name) => name.startsWith("mach_")))];
}

/** runc makes the same path in every v1 hierarchy, also in those that limit nothing. */
export function basesOf(owner: string): string[] {
  return [ROOT, ...readdirSync(ROOT).map((name) => join(ROOT, name))]
    .map((hierarchy) => join(hierarchy, "casemate", owner))
    .filter((path) => existsSync(path));
}

/** A group can be removed some moments after its last process has been reaped. */
async function removeTree(path: string): Promise<void> {
  for (let tries = 0; existsSync(path); tries++) {
    for (const entry of readdirSync(path, { withFileTypes: true }))
      if (entry.isDirectory()) await removeTree(join(path, entry.name));
    if (tryRemove(path)) return;
    if (tries > 200) throw new Error(`the cgroup ${path} cannot be removed`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function tryRemove(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

function readOrNone(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Where a v1 controller is mounted; some are mounted together under both names. */
function hierarchyOf(controller: string): string {
  const line = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((each) => each.split(" "))
    .find(([, , type, options]) => type === "cgroup" && options?.split(",").includes(controller));
  if (line === undefined) throw new Error(`the cgroup controller ${controller} is not mounted`);
  return line[1]!;
}

export interface Usage {
  memoryBytes: number;
  cpuNs: number;
}

/** What the machine uses now, or null while it has no group. Memory that the kernel can take back at once is not counted. */
export function usageOf(kind: CgroupKind, owner: string, machineId: string): Usage | null {
  try {
    const parent =
      kind.driver === "systemd" ? slicePath(sliceOf(owner, machineId)) : cgroupParent(kind, owner, machineId);
    const read = (folder: string, file: string) => readFileSync(join(folder, parent, file), "utf8");
    const field = (text: string, name: string) =>
      Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
    if (kind.version === 2)
      return {
        memoryBytes: Number(read(ROOT, "memory.current")) - field(read(ROOT, "memory.stat"), "inactive_file"),
        cpuNs: field(read(ROOT, "cpu.stat"), "usage_usec") * 1000,
      };
    const memory = hierarchyOf("memory");
    return {
      memoryBytes:
        Number(read(memory, "memory.usage_in_bytes")) -
        field(read(memory, "memory.stat"), "total_inactive_file"),
      cpuNs: Number(read(hierarchyOf("cpuacct"), "cpuacct.usage")),
    };
  } catch {
    return null;
  }
}

/** `a-b-c.slice` lies in `a.slice/a-b.slice/`. */
function slicePath(slice: string): string {
  const parts = slice.replace(/\.slice$/, "").split("-");
  return parts.map((_, index) => `${parts.slice(0, index + 1).join("-")}.slice`).join("/");
}
