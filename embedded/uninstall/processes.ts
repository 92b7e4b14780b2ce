// SPDX-License-Identifier: Apache-2.0
/**
 * Finding processes by what they are and not by a number that was written down: numbers are given away
 * again. Whoever is found is looked at once more, with its start time, in the moment before it is killed.
 */
import { statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { listPids, tryRead } from "#drivers/sandbox/process-table.ts";

const LOOK_MS = 50;

export interface FoundProcess {
  pid: number;
  /** Clock ticks since boot: with the pid it names one process. */
  start: string;
  program: string;
}

/** Every process for which `belongs` holds, zombies and this one left out. */
export function findProcesses(belongs: (pid: number) => boolean): FoundProcess[] {
  return listPids()
    .filter((pid) => pid !== process.pid && belongs(pid))
    .flatMap((pid) => look(pid) ?? []);
}

function look(pid: number): FoundProcess | null {
  const stat = tryRead(`/proc/${pid}/stat`);
  if (stat === null) return null;
  // The name may hold blanks and `)`, so fields count from the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return null;
  const program = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
  return { pid, start: fields[19] ?? "", program };
}

/** True for a process whose working folder is this one, whatever it says of itself. */
export function worksIn(folder: string): (pid: number) => boolean {
  const own = identity(folder);
  return (pid) => own !== null && identity(`/proc/${pid}/cwd`) === own;
}

export const argumentsOf = (pid: number): string[] =>
  (tryRead(`/proc/${pid}/cmdline`) ?? "").split("\0").slice(0, -1);

/**
 * Signals what `find` finds until nothing is left: gently for `graceMs`, then for good. Answers what
 * resisted.
 */
export async function endAll(
  find: () => FoundProcess[],
  { graceMs, forMs }: { graceMs: number; forMs: number },
): Promise<FoundProcess[]> {
  const begun = performance.now();
  const asked = new Set<string>();
  for (;;) {
    const left = find();
    const passedMs = performance.now() - begun;
    if (left.length === 0 || passedMs > forMs) return left;
    for (const { pid, start, program } of left) {
      const name = `${pid}:${start}`;
      if (passedMs >= graceMs) signal(pid, start, "SIGKILL");
      // bubblewrap passes no signal on: it would die of it and take down what it holds.
      else if (!asked.has(name) && program !== "bwrap") signal(pid, start, "SIGINT");
      asked.add(name);
    }
    await sleep(LOOK_MS);
  }
}

function signal(pid: number, start: string, name: NodeJS.Signals): void {
  if (look(pid)?.start !== start) return;
  try {
    process.kill(pid, name);
  } catch {
    // It went by itself.
  }
}

function identity(path: string): string | null {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return null;
  }
}
