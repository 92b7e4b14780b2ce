// SPDX-License-Identifier: Apache-2.0
/**
 * Running a program to its end: no shell, an environment of its own, bounded output and time, and the
 * whole process group killed when it is over or no longer wanted.
 */
import { spawn } from "node:child_process";

const OUTPUT_BYTES_MAX = 1024 * 1024;
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  timeoutMs: number;
  /** A promise's text is given when there is one; the program is killed when there never is. */
  input?: string | Promise<string>;
  env?: Record<string, string>;
  cwd?: string;
  signal?: AbortSignal;
}

/** Resolves also when the program fails; rejects when it cannot be started, takes too long or is aborted. */
export function runProgram(command: readonly string[], options: RunOptions): Promise<Ran> {
  const { timeoutMs, input, env, cwd, signal } = options;
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const child = spawn(command[0]!, command.slice(1), {
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
      env: { PATH, LC_ALL: "C", ...env },
      ...(cwd === undefined ? {} : { cwd }),
    });
    const said = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const)
      child[name].setEncoding("utf8").on("data", (text: string) => {
        said[name] = (said[name] + text).slice(-OUTPUT_BYTES_MAX);
      });
    let why: Error | null = null;
    const end = (reason: Error) => {
      why ??= reason;
      try {
        // Still our child: its pid is not given away before `exit` was seen.
        if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, "SIGKILL");
      } catch {}
    };
    const late = setTimeout(() => end(new Error(`${command[0]} took more than ${timeoutMs} ms`)), timeoutMs);
    const aborted = () => end(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
    signal?.addEventListener("abort", aborted, { once: true });
    const settle = () => {
      clearTimeout(late);
      signal?.removeEventListener("abort", aborted);
    };
    child.once("error", (error) => {
      settle();
      reject(error);
    });
    child.once("close", (code) => {
      settle();
      if (why !== null) reject(why);
      else resolve({ code, ...said });
    });
    child.stdin.on("error", () => {});
    if (input instanceof Promise) input.then((text) => child.stdin.end(text), end);
    else child.stdin.end(input ?? "");
  });
}

/** As above, for programs whose failure is a fault. */
export async function mustRun(command: readonly string[], options: RunOptions): Promise<string> {
  const { code, stdout, stderr } = await runProgram(command, options);
  if (code === 0) return stdout;
  throw new Error(`${command.slice(0, 3).join(" ")} failed (${code}): ${stderr.trim().slice(-500)}`);
}
