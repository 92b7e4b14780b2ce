// SPDX-License-Identifier: Apache-2.0
/**
 * Processes of a container: those in its cgroups, its first one by its note, and what starts it, by a mark in the environment. The mark
 * counts only on processes of ours: root inside could give the mark of another container to theirs, and that one could not be
 * ended any more.
 */
import { join } from "node:path";
import { basesOf } from "../docker/cgroup-parent.ts";
import { processMark } from "../docker/marks.ts";
import { isRunning, type Known } from "../qemu/processes.ts";
import { processesIn } from "../sandbox/cgroups.ts";
import { listPids, statusFields, tryRead } from "../sandbox/process-table.ts";

export function processesOf(owner: string, machineId: string, init: Known | null): Set<number> {
  const found = new Set(basesOf(owner).flatMap((base) => processesIn(join(base, machineId))));
  if (isRunning(init)) found.add(init.pid);
  const mark = processMark(owner, machineId);
  for (const pid of listPids()) if (marksOf(pid).includes(mark)) found.add(pid);
  found.delete(process.pid);
  return found;
}

/** Containers that are being started. */
export function listMarked(owner: string): string[] {
  const start = processMark(owner, "");
  return listPids()
    .flatMap(marksOf)
    .filter((word) => word.startsWith(start))
    .map((word) => word.slice(start.length));
}

function marksOf(pid: number): string[] {
  const uid = Number(statusFields(pid)?.get("Uid")?.split("\t")[0] ?? -1);
  if (uid !== process.getuid?.()) return [];
  return tryRead(`/proc/${pid}/environ`)?.split("\0") ?? [];
}
