// SPDX-License-Identifier: Apache-2.0
/** What is in the state folder: which release wrote it, whether it runs, how many errors its logs hold. */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import pkg from "#package.json" with { type: "json" };
import { type Check, missing, ok, warning } from "./check.ts";
import { findOnPath, runProgram } from "./program.ts";

const LOG_BYTES_MAX = 4 * 1024 * 1024;
/** pino's number for `error`. */
const ERROR_LEVEL = 50;
/** The host names its events, and its faults so. That it dialled before control listened is none: it dials again. */
const FAULT = /(?:failed|(?<!link-)fault|stuck|unreadable|unfindable)$/;

const release: Check = {
  id: "release",
  group: "this installation",
  name: "state folder",
  needed: [],
  timeoutMs: 1_000,
  look: async ({ state }) => {
    if (!existsSync(state)) return ok(`${state} is not there yet; up makes it`);
    const written = read(join(state, "version"));
    if (written === null)
      return existsSync(join(state, "keys"))
        ? warning(`${state} was never started to the end`)
        : warning(`${state} is there and has no version file: is it a state folder?`);
    return newer(written, pkg.version)
      ? missing(`written by ${written}, and this is ${pkg.version}: an older release refuses it`, "git pull")
      : ok(`${state}, last written by ${written}; this is ${pkg.version}`);
  },
};

/** The lock says it, which the kernel drops with its holder; it is let go at once. */
const running: Check = {
  id: "running",
  group: "this installation",
  name: "running",
  needed: [],
  timeoutMs: 5_000,
  look: async (here, signal) => {
    const lock = join(here.state, "lock");
    if (!existsSync(lock)) return ok("no, and it never ran");
    const flock = findOnPath(here, "flock");
    if (flock === null) return warning("not known: flock is missing");
    const { code } = await runProgram(
      here,
      [flock, "--nonblock", "--conflict-exit-code", "9", lock, "true"],
      signal,
    );
    if (code === 0) return ok("no");
    if (code !== 9) return warning("not known: the lock cannot be asked");
    const where = read(join(here.state, "running.json"));
    if (where === null) return warning("it is starting or stopping");
    const { url, pid } = JSON.parse(where) as { url: string; pid: number };
    const answer = await fetch(`${url}/readyz`, { signal }).catch(() => null);
    return answer?.ok === true
      ? ok(`yes, at ${url} (pid ${pid})`)
      : warning(
          `yes, at ${url} (pid ${pid}), but it is not ready`,
          `./casemate health --state ${here.state}`,
        );
  },
};

/** Counted and not shown: whoever reads doctor's output need not be whoever may read logs. */
const logs: Check = {
  id: "logs",
  group: "this installation",
  name: "errors in logs",
  needed: [],
  timeoutMs: 5_000,
  look: async ({ state }) => {
    const files = ["control.log", "host.log"].map((name) => join(state, "logs", name));
    const there = files.filter(existsSync);
    if (there.length === 0) return ok("no logs yet");
    const counts = there.map((path) => [path, tail(path).split("\n").filter(isError).length] as const);
    const total = counts.reduce((sum, [, count]) => sum + count, 0);
    const says = counts.map(([path, count]) => `${count} in ${path}`).join(", ");
    return total === 0 ? ok(says) : warning(says);
  },
};

function isError(line: string): boolean {
  if (line.trim() === "") return false;
  let entry: { level?: unknown; event?: unknown };
  try {
    entry = JSON.parse(line);
  } catch {
    // What is not of our loggers: a crash. Its lines are told by the word that begins the first.
    return /^\w*Error\b/.test(line);
  }
  if (typeof entry.level === "number") return entry.level >= ERROR_LEVEL;
  return typeof entry.event === "string" && FAULT.test(entry.event);
}

function tail(path: string): string {
  const fd = openSync(path, "r");
  try {
    const { size } = fstatSync(fd);
    const bytes = Buffer.alloc(Math.min(size, LOG_BYTES_MAX));
    const count = readSync(fd, bytes, 0, bytes.length, size - bytes.length);
    return bytes.toString("utf8", 0, count);
  } finally {
    closeSync(fd);
  }
}

function newer(a: string, b: string): boolean {
  return a.localeCompare(b, "en", { numeric: true }) > 0;
}

function read(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}

export const INSTALLATION: readonly Check[] = [release, running, logs];
