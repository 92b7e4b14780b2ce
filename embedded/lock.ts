// SPDX-License-Identifier: Apache-2.0
/**
 * One process per state folder. The lock is flock(2) on an open file: the kernel drops it when we die,
 * however we die, so there is no stale lock to reason about. Node has no flock; util-linux's locks the
 * descriptor we hand it, and the lock belongs to the open file, which stays with us.
 */
import { spawnSync } from "node:child_process";
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";

export interface Lock {
  release(): void;
}

/** Throws, naming the holder, when another process has it. */
export function lockFolder(path: string): Lock {
  const fd = openSync(path, "a+", 0o644);
  const { status, error } = spawnSync("flock", ["--nonblock", "3"], {
    stdio: ["ignore", "ignore", "ignore", fd],
  });
  if (error !== undefined) {
    closeSync(fd);
    throw new Error(`flock is missing (apt-get install util-linux): ${error.message}`);
  }
  if (status !== 0) {
    const holder = readFileSync(path, "utf8").trim();
    closeSync(fd);
    throw new Error(`${path} is held by another casemate${holder === "" ? "" : ` (pid ${holder})`}`);
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`);
  return { release: () => closeSync(fd) };
}
