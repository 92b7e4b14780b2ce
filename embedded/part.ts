// SPDX-License-Identifier: Apache-2.0
/**
 * A part of the installation as a process that is kept running. Parts are asked to end by closing
 * their standard input: it reaches them through bubblewrap, which passes no signals on, and it also
 * happens by itself when we are killed.
 */
import type { ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import type { LogFile } from "./log-file.ts";

const BACKOFF_MS = [200, 500, 1000, 2000, 5000];
/** A part that lived this long starts again with a fresh backoff. */
const SETTLED_MS = 30_000;

export interface Part {
  pid(): number | undefined;
  /** Resolves when it has ended; kills it after `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

export interface PartPlan {
  name: string;
  log: LogFile;
  /** Awaited before each start. */
  prepare?(): Promise<void>;
  spawn(): ChildProcess;
  /** Told when the part died by itself; it is started again unless the answer is false. */
  onDeath(name: string, code: number | null, signal: string | null, lastLine: string): boolean;
}

/** The line of a crash that says what happened; Node's last line is its own version. */
function tellingLine(text: string): string | undefined {
  const lines = text
    .split("\n")
    .filter((line) => line.trim() !== "" && !/^Node\.js v|^\s+at |^\s*[{}^]/.test(line));
  return lines.find((line) => /\bError\b/.test(line)) ?? lines.at(-1);
}

export function keepRunning(plan: PartPlan): Part {
  let child: ChildProcess | null = null;
  let stopping = false;
  let failures = 0;
  let lastLine = "";

  const life = (async () => {
    while (!stopping) {
      const begun = performance.now();
      await plan.prepare?.();
      if (stopping) return;
      child = plan.spawn();
      for (const stream of [child.stdout, child.stderr]) {
        stream?.on("data", (chunk: Buffer) => {
          plan.log.write(chunk);
          lastLine = tellingLine(chunk.toString("utf8")) ?? lastLine;
        });
      }
      child.stdin?.on("error", () => {});
      const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
        child!.once("error", (error) => {
          lastLine = error.message;
          resolve([null, null]);
        });
        child!.once("exit", (exit, by) => resolve([exit, by]));
      });
      // What of it outlived its wrapper sees its standard input close, and ends.
      child.stdin?.destroy();
      if (stopping) return;
      if (!plan.onDeath(plan.name, code, signal, lastLine)) return;
      failures = performance.now() - begun > SETTLED_MS ? 0 : failures;
      await sleep(BACKOFF_MS[Math.min(failures++, BACKOFF_MS.length - 1)]);
    }
  })();

  return {
    pid: () => child?.pid,
    stop: async (graceMs) => {
      stopping = true;
      child?.stdin?.end();
      const timer = setTimeout(() => child?.kill("SIGKILL"), graceMs);
      await life;
      clearTimeout(timer);
    },
  };
}
