// SPDX-License-Identifier: Apache-2.0
/**
 * Which cgroups sandboxes could be limited by, tried by making a folder in each hierarchy and removing
 * it. The driver takes v2 with controllers, else v1, else limits per process; so does this check.
 * Sessions run without any, and their proofs say `no_cgroup`.
 */
import { accessSync, constants, existsSync, mkdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { type Check, type Here, missing, ok, warning } from "./check.ts";
import { readHere } from "./program.ts";

const WANTED = ["memory", "pids", "cpu"];
const NEEDED = ["memory", "pids"];

const cgroups: Check = {
  id: "cgroups",
  group: "sandboxes",
  name: "cgroups",
  needed: [],
  timeoutMs: 3_000,
  look: async (here) => {
    const mounts = (readHere(here, "/proc/self/mounts") ?? "").split("\n").map((line) => line.split(" "));
    const own = ownPaths(here);
    const v2 = tryV2(here, mounts, own);
    if (v2?.writable) return ok(`v2 with ${v2.controllers.join(", ")}, writable`);
    const v1 = tryV1(here, mounts, own);
    if (NEEDED.every((name) => v1.writable.includes(name)))
      return v1.writable.includes("cpu")
        ? ok(`v1 with ${v1.writable.join(", ")}, writable`)
        : warning(`v1 with ${v1.writable.join(", ")}; without cpu the processor is not bounded`);
    const without = "sessions are bounded per process, and their proofs say no_cgroup";
    if (v2 === null && v1.found.length === 0)
      return missing(`none is mounted; ${without}`, "mount -t cgroup2 cgroup2 /sys/fs/cgroup");
    const found =
      v2 === null
        ? `v1 with ${v1.found.join(", ")}`
        : `v2 with ${v2.controllers.join(", ") || "no controllers"}`;
    if (here.uid === 0) return missing(`${found}, not writable; ${without}`);
    return warning(
      `${found}, not delegated to uid ${here.uid}; ${without}`,
      "systemd-run --user --scope -p Delegate=yes ./casemate up",
    );
  },
};

type Own = Map<string, string>;

function ownPaths(here: Here): Own {
  const lines = (readHere(here, "/proc/self/cgroup") ?? "").split("\n").filter((line) => line !== "");
  return new Map(
    lines.map((line) => {
      const [, names = "", ...path] = line.split(":");
      return [names, path.join(":")];
    }),
  );
}

function tryV2(here: Here, mounts: string[][], own: Own) {
  const mount = mounts.find((fields) => fields[2] === "cgroup2")?.[1];
  const path = own.get("");
  if (mount === undefined || path === undefined) return null;
  const parents = here.uid === 0 ? [mount, join(mount, path)] : [join(mount, path)];
  const tried = parents.map((parent) => {
    const offered = (readHere(here, join(parent, "cgroup.controllers")) ?? "").trim().split(/\s+/);
    const controllers = WANTED.filter((name) => offered.includes(name));
    const enough = NEEDED.every((name) => controllers.includes(name));
    const folder = here.root + parent;
    return {
      controllers,
      writable: enough && canMake(folder) && canWrite(join(folder, "cgroup.subtree_control")),
    };
  });
  return tried.find(({ writable }) => writable) ?? tried[0]!;
}

function tryV1(here: Here, mounts: string[][], own: Own): { found: string[]; writable: string[] } {
  const found: string[] = [];
  const writable: string[] = [];
  for (const [names, path] of own) {
    const controllers = WANTED.filter((name) => names.split(",").includes(name));
    const mount = mounts.find(
      (fields) => fields[2] === "cgroup" && controllers.every((name) => fields[3]?.split(",").includes(name)),
    )?.[1];
    if (controllers.length === 0 || mount === undefined) continue;
    found.push(...controllers);
    if (canMake(here.root + join(mount, path))) writable.push(...controllers);
  }
  return { found, writable };
}

/** A folder made in a hierarchy has the kernel's files in it at once; one on any other file system has none. */
function canMake(parent: string): boolean {
  const trial = join(parent, `casemate-doctor-${process.pid}`);
  try {
    mkdirSync(trial);
  } catch {
    return false;
  }
  try {
    return existsSync(join(trial, "cgroup.procs")) && canWrite(join(trial, "cgroup.procs"));
  } finally {
    rmdirSync(trial);
  }
}

function canWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

export const CGROUPS: readonly Check[] = [cgroups];
