// SPDX-License-Identifier: Apache-2.0
/**
 * The sandbox as bubblewrap's argument list. Everything writable is one of four sized tmpfs; the rest
 * (the base tmpfs of the root and /dev included) is remounted read-only, because a place that can be
 * written but is not on the list of step 2 would be storage the proof never looks at.
 */
import { existsSync, lstatSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { INSIDE_ID, type Skeleton } from "./skeleton.ts";

const MIB = 1024 * 1024;
export const INPUT_FOLDER = "/run/casemate/input";

export interface TmpfsPlan {
  target: string;
  sizeBytes: number;
  mode: string;
}

/**
 * Shares of the memory limit; their sum stays under it, so filling all of them meets ENOSPC before
 * the memory limit kills the program. The input holds two documents of 16 MiB while one replaces the
 * other, when the machine is large enough for that.
 */
export function planTmpfs(memoryMiB: number): TmpfsPlan[] {
  const bytes = memoryMiB * MIB;
  const page = (n: number) => Math.max(65536, Math.floor(n / 4096) * 4096);
  return [
    { target: "/session", sizeBytes: page(bytes / 2), mode: "0755" },
    { target: "/tmp", sizeBytes: page(bytes / 4), mode: "1777" },
    { target: INPUT_FOLDER, sizeBytes: page(Math.min(33 * MIB, bytes / 6)), mode: "0755" },
    { target: "/dev/shm", sizeBytes: page(bytes / 16), mode: "1777" },
  ];
}

/** Where the root comes from: the host's /usr, or a named template with a tree of its own. */
export function rootArguments(template: string | null, skeleton: Skeleton): string[] {
  const root = template ?? "/";
  const args = ["--ro-bind", join(root, "usr"), "/usr"];
  for (const name of ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]) {
    const path = join(root, name);
    if (!existsSync(path)) continue;
    if (lstatSync(path).isSymbolicLink()) args.push("--symlink", readlinkSync(path), `/${name}`);
    else args.push("--ro-bind", path, `/${name}`);
  }
  if (template !== null) {
    args.push("--ro-bind", join(template, "etc"), "/etc");
    return args;
  }
  // An operator's own programs and their configuration live in /usr/local; sessions have no business there.
  args.push("--ro-bind", skeleton.local, "/usr/local", "--ro-bind", skeleton.etc, "/etc");
  return args;
}

export interface SandboxArguments {
  machineId: string;
  owner: string;
  root: string[];
  tmpfs: TmpfsPlan[];
  fds: { seccomp: number; info: number; canary: number };
}

/**
 * Process 1: a shell that waits for `sleep` for ever. As process 1 it cannot be killed from inside
 * and it takes up every orphan; killing its sleep only starts another. Its first output byte says
 * that the sandbox stands.
 */
const FIRST = "echo up; exec >/dev/null 2>&1; while :; do sleep 2147483647; done";

export function bwrapArguments({ machineId, owner, root, tmpfs, fds }: SandboxArguments): string[] {
  const id = String(INSIDE_ID);
  return [
    ...["--unshare-user", "--uid", id, "--gid", id, "--unshare-ipc", "--unshare-pid", "--unshare-net"],
    ...[
      "--unshare-uts",
      "--unshare-cgroup-try",
      "--hostname",
      "session",
      "--new-session",
      "--die-with-parent",
    ],
    ...["--as-pid-1", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin"],
    // The mark by which `reap` knows what an earlier process of ours left behind.
    ...["--setenv", "CASEMATE_MACHINE", `${owner}/${machineId}`],
    ...root,
    ...["--proc", "/proc", "--dev", "/dev"],
    ...tmpfs.flatMap((fs) => ["--perms", fs.mode, "--size", String(fs.sizeBytes), "--tmpfs", fs.target]),
    ...[
      "--perms",
      "0755",
      "--dir",
      "/session/input",
      "--symlink",
      `${INPUT_FOLDER}/data`,
      "/session/input/data",
    ],
    ...["--perms", "0400", "--file", String(fds.canary), `${INPUT_FOLDER}/.canary`],
    ...["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/session"],
    ...["--seccomp", String(fds.seccomp), "--info-fd", String(fds.info)],
    ...["--", "/bin/sh", "-c", FIRST],
  ];
}
