// SPDX-License-Identifier: Apache-2.0
/**
 * Running a program that may hang, be something else than its name says, or not be there: no shell, no
 * environment of ours, bounded output, and its whole process group killed when the time is over.
 */
import { spawn } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Here } from "./check.ts";

const OUTPUT_CHARACTERS_MAX = 64 * 1024;

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** The file on `here.path`, below `here.root`; null when no folder has it. */
export function findOnPath(here: Pick<Here, "root" | "path">, name: string): string | null {
  const folders = here.path.split(":").filter((folder) => folder.startsWith("/"));
  return folders.map((folder) => join(here.root, folder, name)).find(isProgram) ?? null;
}

export function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Resolves with what it did, whatever that was; rejects when it cannot be started or is aborted. */
export function runProgram(
  here: Pick<Here, "path">,
  command: readonly string[],
  signal: AbortSignal,
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const child = spawn(command[0]!, command.slice(1), {
      detached: true,
      cwd: "/",
      env: { PATH: here.path, LC_ALL: "C" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const said = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const)
      child[name].setEncoding("utf8").on("data", (text: string) => {
        said[name] = (said[name] + text).slice(-OUTPUT_CHARACTERS_MAX);
      });
    const stop = () => {
      try {
        // Still our child: its number is not given away before `exit` was seen.
        if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, "SIGKILL");
      } catch {
        // It ended by itself.
      }
    };
    signal.addEventListener("abort", stop, { once: true });
    const settle = () => signal.removeEventListener("abort", stop);
    child.once("error", (error) => {
      settle();
      reject(error);
    });
    child.once("close", (code) => {
      settle();
      if (signal.aborted) reject(signal.reason);
      else resolve({ code, ...said });
    });
  });
}

/** Text of a file below `here.root`; null when it cannot be read. */
export function readHere(here: Pick<Here, "root">, path: string): string | null {
  try {
    return readFileSync(here.root + path, "utf8");
  } catch {
    return null;
  }
}
