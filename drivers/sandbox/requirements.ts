// SPDX-License-Identifier: Apache-2.0
/** Whether this host can make a sandbox at all: tried for real, and where it fails, said in one line what to do. */
import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { promisify } from "node:util";
import { ENTRY_CALLS } from "#confine/syscalls.ts";
import { tryRead } from "./process-table.ts";

const run = promisify(execFile);
const TRIAL = [
  "--unshare-all",
  "--ro-bind",
  "/usr",
  "/usr",
  "--symlink",
  "usr/lib",
  "/lib",
  "--symlink",
  "usr/lib64",
  "/lib64",
];

export async function findMissing(
  uid: number | null,
  giveBack: (uid: number) => void,
): Promise<string | null> {
  try {
    if (!(process.arch in ENTRY_CALLS))
      return `the process driver knows x86_64 and arm64, not ${process.arch}`;
    if (!runs("/usr/bin/bwrap")) return "bubblewrap is not installed: apt-get install bubblewrap";
    if (!runs("/usr/bin/perl")) return "perl is not installed: apt-get install perl-base";
    if (uid !== null && !runs("/usr/bin/setpriv"))
      return "setpriv is not installed: apt-get install util-linux";
    const as = uid === null ? {} : { uid, gid: uid };
    await run("/usr/bin/bwrap", [...TRIAL, "/usr/bin/true"], { ...as, env: {}, cwd: "/", timeout: 10_000 });
    return null;
  } catch (error) {
    if (tryRead("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")?.trim() === "1")
      return "AppArmor keeps user namespaces from bwrap: install a profile that allows it `userns`";
    if (tryRead("/proc/sys/kernel/unprivileged_userns_clone")?.trim() === "0")
      return "user namespaces are off: sysctl kernel.unprivileged_userns_clone=1";
    return `bubblewrap cannot make a sandbox here: ${(error as Error).message.split("\n").at(-2) ?? ""}`.slice(
      0,
      300,
    );
  } finally {
    if (uid !== null) giveBack(uid);
  }
}

function runs(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
