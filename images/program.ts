// SPDX-License-Identifier: Apache-2.0
/**
 * Programs that an image is built with. Each runs with an environment of its own, and nothing of the caller's that could change a
 * byte: no locale, no time zone, no umask, no settings of a compiler.
 */
import { spawn } from "node:child_process";

export interface RunOptions {
  signal: AbortSignal;
  cwd?: string;
  env?: Readonly<Record<string, string>>;
  /** Each line that it writes, standard output and error alike. */
  onLine?: (line: string) => void;
}

const LINES_KEPT = 12;

/** What it wrote to standard output. Rejects with the last lines of both when it does not end well. */
export async function runTool(
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<string> {
  options.signal.throwIfAborted();
  const env = {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    LC_ALL: "C",
    TZ: "UTC",
  };
  // A process group of its own: an interrupted build ends what its programs have started, too.
  const child = spawn("/bin/sh", ["-c", 'umask 022; exec "$@"', "sh", command, ...args], {
    cwd: options.cwd ?? "/",
    env: { ...env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const end = () => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, "SIGTERM");
  };
  options.signal.addEventListener("abort", end, { once: true });
  const last: string[] = [];
  let output = "";
  const follow = (stream: NodeJS.ReadableStream, keep: boolean) => {
    let rest = "";
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      if (keep) output += text;
      const lines = (rest + text).split(/[\r\n]+/);
      rest = lines.pop()!.slice(-4_096);
      for (const line of lines) {
        if (line.trim() === "") continue;
        last.push(line.slice(0, 400));
        if (last.length > LINES_KEPT) last.shift();
        options.onLine?.(line);
      }
    });
    stream.on("end", () => {
      if (rest.trim() !== "") last.push(rest);
    });
  };
  follow(child.stdout, true);
  follow(child.stderr, false);
  try {
    const code = await new Promise<number | string | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (status, signal) => resolve(status ?? signal));
    });
    options.signal.throwIfAborted();
    if (code !== 0) throw new Error(`${command} ended with ${code}:\n${last.join("\n")}`);
    return output;
  } finally {
    options.signal.removeEventListener("abort", end);
  }
}
