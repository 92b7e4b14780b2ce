// SPDX-License-Identifier: Apache-2.0
/**
 * Limits. One `Cgroups` knows which of three worlds the host is: a v2 tree with controllers, v1
 * controllers (each its own tree, under the path the driver itself is in), or none to write to.
 *
 *  A. Every machine has one folder per hierarchy, named after it, under `<base>/<owner>`.
 *  B. Every command has a folder below the machine's in exactly one hierarchy (`tree`): the set of its
 *     processes whatever they do — a daemon can leave its session and parent, but not its cgroup.
 *  C. Nothing here follows a path a session can write; cgroupfs is not mounted inside.
 *  D. A process joins by itself and before it has threads. In v1 it writes to `tasks`, which moves one
 *     thread and takes no lock of the whole machine; `cgroup.procs` does, and waits for every processor
 *     in turn: 7 ms for three hierarchies here. v2 has no such file outside of threaded trees.
 */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { tryRead } from "./process-table.ts";

type Controller = "memory" | "pids" | "cpu";
const WANTED: readonly Controller[] = ["memory", "pids", "cpu"];
const MIB = 1024 * 1024;
/** bubblewrap outside is in the folders too, and not the session's to pay for. */
const MONITORS = 1;

interface Hierarchy {
  /** Folder that holds the machines of this owner. */
  base: string;
  controllers: readonly Controller[];
}

export interface MachineCgroups {
  paths: string[];
  /** The folder whose children hold the commands; null without cgroups. */
  tree: string | null;
}

export class Cgroups {
  readonly kind: "v2" | "v1" | "rlimits";
  readonly #hierarchies: readonly Hierarchy[];

  constructor(kind: Cgroups["kind"], hierarchies: readonly Hierarchy[]) {
    this.kind = kind;
    this.#hierarchies = hierarchies;
  }

  /** The folders a machine will have, known before they exist so that they can be recorded. */
  plan(machineId: string): MachineCgroups {
    const paths = this.#hierarchies.map((each) => join(each.base, machineId));
    const pids = this.#hierarchies.findIndex((each) => each.controllers.includes("pids"));
    return { paths, tree: pids < 0 ? null : paths[pids]! };
  }

  create(
    machineId: string,
    limits: { memoryMiB: number; pidsMax: number; cpuMillis: number },
  ): MachineCgroups {
    const machine = this.plan(machineId);
    const memory = String(limits.memoryMiB * MIB);
    const quota = String(Math.max(1000, limits.cpuMillis * 100));
    for (const [index, { controllers }] of this.#hierarchies.entries()) {
      const path = machine.paths[index]!;
      mkdirSync(path, { recursive: true });
      const set = (file: string, value: string) => writeFileSync(join(path, file), value);
      const setIfThere = (file: string, value: string) => existsSync(join(path, file)) && set(file, value);
      if (controllers.includes("pids")) set("pids.max", String(limits.pidsMax + MONITORS));
      if (this.kind === "v2") {
        if (controllers.includes("memory")) {
          set("memory.max", memory);
          setIfThere("memory.swap.max", "0");
          setIfThere("memory.oom.group", "0");
        }
        if (controllers.includes("cpu")) set("cpu.max", `${quota} 100000`);
        set("cgroup.subtree_control", controllers.map((name) => `+${name}`).join(" "));
        // In v2 only leaves hold processes; the first process gets one of its own.
        mkdirSync(join(path, "first"), { recursive: true });
      } else {
        if (controllers.includes("memory")) {
          set("memory.limit_in_bytes", memory);
          setIfThere("memory.memsw.limit_in_bytes", memory);
        }
        if (controllers.includes("cpu")) {
          set("cpu.cfs_period_us", "100000");
          set("cpu.cfs_quota_us", quota);
        }
      }
    }
    return machine;
  }

  /** Files by which the machine's first process joins (D). */
  firstOf(machine: MachineCgroups): string[] {
    return machine.paths.map((path) => this.#joinFile(this.kind === "v2" ? join(path, "first") : path));
  }

  #joinFile(folder: string): string {
    return join(folder, this.kind === "v1" ? "tasks" : "cgroup.procs");
  }

  /** Makes the folder of one command; returns it and the files by which the command's first process joins. */
  createCommand(machine: MachineCgroups, name: string): { folder: string | null; join: string[] } {
    if (machine.tree === null) return { folder: null, join: [] };
    const folder = join(machine.tree, name);
    mkdirSync(folder);
    const others = machine.paths.filter((path) => path !== machine.tree);
    return { folder, join: [...others, folder].map((path) => this.#joinFile(path)) };
  }

  /** How often the machine met its memory limit by a kill; null when nothing counts it. */
  oomKills(machine: MachineCgroups): number | null {
    const memory = this.#hierarchies.findIndex((each) => each.controllers.includes("memory"));
    if (memory < 0) return null;
    const file = this.kind === "v2" ? "memory.events" : "memory.oom_control";
    const found = tryRead(join(machine.paths[memory]!, file))?.match(/^oom_kill (\d+)$/m);
    return found ? Number(found[1]) : null;
  }

  /** Names of all machines with a folder in any hierarchy. */
  machines(): Set<string> {
    const names = new Set<string>();
    for (const { base } of this.#hierarchies)
      if (existsSync(base))
        for (const entry of readdirSync(base, { withFileTypes: true }))
          if (entry.isDirectory()) names.add(entry.name);
    return names;
  }

  /** Gives back the owner's own folders when nothing is in them. */
  close(): void {
    for (const { base } of this.#hierarchies) tryRmdir(base);
  }
}

/** Processes in a folder and below it. */
export function processesIn(folder: string): number[] {
  const own = (tryRead(join(folder, "cgroup.procs")) ?? "").split("\n").filter(Boolean).map(Number);
  return [...own, ...subfolders(folder).flatMap(processesIn)];
}

function subfolders(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(folder, entry.name));
  } catch {
    return [];
  }
}

function tryRmdir(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch {
    return !existsSync(folder);
  }
}

/** Removes a folder with the folders below it; false when something still lives in it. */
export function removeTree(folder: string): boolean {
  for (const below of subfolders(folder)) removeTree(below);
  return tryRmdir(folder);
}

/** Finds what this process may use. Creates the owner's folders, so a wrong guess shows here and not at a create. */
export function findCgroups(owner: string): Cgroups {
  const mounts = (tryRead("/proc/self/mounts") ?? "").split("\n").map((line) => line.split(" "));
  const own = new Map(
    (tryRead("/proc/self/cgroup") ?? "")
      .split("\n")
      .filter(Boolean)
      .map((line) => {
        const [, names, ...path] = line.split(":");
        return [names ?? "", path.join(":")] as const;
      }),
  );
  return findV2(owner, mounts, own) ?? findV1(owner, mounts, own) ?? new Cgroups("rlimits", []);
}

function findV2(owner: string, mounts: string[][], own: Map<string, string>): Cgroups | null {
  const mount = mounts.find((fields) => fields[2] === "cgroup2")?.[1];
  const path = own.get("");
  if (mount === undefined || path === undefined) return null;
  // As root from the top, where no process limit of a service unit is inherited; otherwise in what was delegated to us.
  const parents = process.getuid?.() === 0 ? [mount, join(mount, path)] : [join(mount, path)];
  for (const parent of parents) {
    const offered = new Set((tryRead(join(parent, "cgroup.controllers")) ?? "").trim().split(/\s+/));
    const controllers = WANTED.filter((name) => offered.has(name));
    if (!controllers.includes("memory") || !controllers.includes("pids")) continue;
    const on = controllers.map((name) => `+${name}`).join(" ");
    try {
      if (parent !== mount) {
        // A delegated folder that holds processes cannot give controllers to children: step into a leaf first.
        const leaf = join(parent, `${owner}-host`);
        mkdirSync(leaf, { recursive: true });
        for (const pid of readFileSync(join(parent, "cgroup.procs"), "latin1").split("\n").filter(Boolean))
          writeFileSync(join(leaf, "cgroup.procs"), pid);
      }
      writeFileSync(join(parent, "cgroup.subtree_control"), on);
      const base = join(parent, owner);
      mkdirSync(base, { recursive: true });
      writeFileSync(join(base, "cgroup.subtree_control"), on);
      return new Cgroups("v2", [{ base, controllers }]);
    } catch {}
  }
  return null;
}

function findV1(owner: string, mounts: string[][], own: Map<string, string>): Cgroups | null {
  const hierarchies: Hierarchy[] = [];
  for (const [names, path] of own) {
    const controllers = WANTED.filter((name) => names.split(",").includes(name));
    if (controllers.length === 0) continue;
    const mount = mounts.find(
      (fields) => fields[2] === "cgroup" && controllers.every((name) => fields[3]?.split(",").includes(name)),
    )?.[1];
    if (mount === undefined) continue;
    const base = join(mount, path, owner);
    try {
      mkdirSync(base, { recursive: true });
      accessSync(join(base, "cgroup.procs"), constants.W_OK);
      hierarchies.push({ base, controllers });
    } catch {}
  }
  const found = new Set(hierarchies.flatMap((each) => each.controllers));
  return found.has("memory") && found.has("pids") ? new Cgroups("v1", hierarchies) : null;
}
