// SPDX-License-Identifier: Apache-2.0
/** The computer: room, descriptors, clock, kernel, and who we are on it. */
import { existsSync, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { withoutRoot } from "../without-root.ts";
import { type Check, missing, ok, warning } from "./check.ts";
import { readHere } from "./program.ts";

const MIB = 1024 * 1024;
/** Below it `up` takes no work, or does not take it up again: the reserve and twice its margin. */
const ROOM_MIN_MIB = 64;
/** An empty database is 40 MiB, its log of changes up to 1 GiB, logs up to 100 MiB. */
const ROOM_GOOD_MIB = 2048;
/** A sandbox is held by a dozen descriptors of the host. */
const FDS_PER_SESSION = 12;
const FDS_MIN = 1024;
const FDS_GOOD = 32_768;
const YEAR_MIN = 2025;
const YEAR_MAX = 2100;

const disk: Check = {
  id: "disk",
  group: "this computer",
  name: "room for the state",
  needed: ["sessions", "workloads"],
  timeoutMs: 3_000,
  look: async ({ state }) => {
    const folder = existing(state);
    const { bavail, bsize, ffree, files } = statfsSync(folder);
    const freeMiB = Math.floor((bavail * bsize) / MIB);
    const reserve = existsSync(join(state, "reserve")) ? ", beside the reserve of 32 MiB" : "";
    const says = `${freeMiB} MiB free at ${folder}${reserve}`;
    if (files > 0 && ffree < 1000) return missing(`${says}, but only ${ffree} files more`);
    if (freeMiB < ROOM_MIN_MIB) return missing(`${says}; below ${ROOM_MIN_MIB} MiB no new work is taken`);
    return freeMiB < ROOM_GOOD_MIB ? warning(`${says}; ${ROOM_GOOD_MIB} MiB is little enough`) : ok(says);
  },
};

const descriptors: Check = {
  id: "descriptors",
  group: "this computer",
  name: "file descriptors",
  needed: ["sessions"],
  timeoutMs: 1_000,
  look: async (here) => {
    const line = /^Max open files\s+(\S+)\s+(\S+)/m.exec(readHere(here, "/proc/self/limits") ?? "");
    if (line === null) return warning("the limit cannot be read");
    // node raises its own soft limit to the hard one.
    const most = line[2] === "unlimited" ? Number.POSITIVE_INFINITY : Number(line[2]);
    const says = `at most ${line[2]}, room for about ${Math.floor(most / FDS_PER_SESSION)} sessions at once`;
    if (most < FDS_MIN) return missing(says, `ulimit -Hn ${FDS_GOOD}`);
    return most < FDS_GOOD
      ? warning(says, `ulimit -Hn ${FDS_GOOD}, or LimitNOFILE=${FDS_GOOD} in the unit`)
      : ok(says);
  },
};

/** Ends of sessions are reckoned in database time, but proofs and certificates carry this clock's. */
const clock: Check = {
  id: "clock",
  group: "this computer",
  name: "clock",
  needed: ["sessions", "workloads"],
  timeoutMs: 1_000,
  look: async ({ now, state }) => {
    const year = now.getUTCFullYear();
    const get = "timedatectl set-ntp true";
    if (!(year >= YEAR_MIN && year < YEAR_MAX))
      return missing(`it says ${year}: proofs would carry that`, get);
    const version = join(state, "version");
    if (existsSync(version) && statSync(version).mtimeMs > now.getTime() + 60_000)
      return warning("it is behind the time at which this installation was last started", get);
    return ok(now.toISOString());
  },
};

const kernel: Check = {
  id: "kernel",
  group: "this computer",
  name: "kernel",
  needed: ["sessions", "workloads"],
  timeoutMs: 1_000,
  look: async (here) => {
    const release = readHere(here, "/proc/sys/kernel/osrelease")?.trim();
    if (release === undefined)
      return missing("no /proc/sys/kernel/osrelease: is this Linux, with /proc mounted?");
    const [major = 0, minor = 0] = release.split(/[.-]/).map(Number);
    const noswap = major > 6 || (major === 6 && minor >= 4);
    const swaps = (readHere(here, "/proc/swaps") ?? "").trim().split("\n").length - 1;
    if (swaps > 0 && !noswap)
      return warning(
        `Linux ${release}, and ${swaps} swap devices: what sessions hold may be written to them`,
        "swapoff -a",
      );
    return ok(`Linux ${release} on ${here.arch}${swaps > 0 ? `, ${swaps} swap devices` : ", no swap"}`);
  },
};

const user: Check = {
  id: "user",
  group: "this computer",
  name: "user",
  needed: [],
  timeoutMs: 1_000,
  look: async ({ uid }) =>
    uid === 0
      ? ok("root: every part and every session gets a uid of its own")
      : warning(
          withoutRoot(uid)
            .map((line) => line.replace("not root: ", ""))
            .join("; "),
          "sudo ./casemate up",
        ),
};

/** The folder itself, or the nearest above it that is there. */
function existing(folder: string): string {
  let path = folder;
  while (!existsSync(path)) path = dirname(path);
  return path;
}

export const COMPUTER: readonly Check[] = [disk, descriptors, clock, kernel, user];
