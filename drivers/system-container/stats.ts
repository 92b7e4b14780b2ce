// SPDX-License-Identifier: Apache-2.0
/** What a container uses, as its cgroups count it: what is said inside is its root's to make up, and of the whole computer. */
import { existsSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { basesOf } from "../docker/cgroup-parent.ts";
import type { MachineStats } from "../kept-driver.ts";
import type { ContainerNote } from "./note.ts";

const MIB = 2 ** 20;
const SAMPLE_MS = 200;
const NS_PER_US = 1_000;

export async function containerStats(
  owner: string,
  machineId: string,
  note: ContainerNote,
): Promise<MachineStats> {
  const folders = basesOf(owner).map((base) => join(base, machineId));
  const [before, from] = [usedNs(folders), process.hrtime.bigint()];
  await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
  const [after, to] = [usedNs(folders), process.hrtime.bigint()];
  const percent = Math.max(0, ((after - before) / Number(to - from)) * 100) / note.cpus;
  const totalBytes = note.memoryMiB * MIB;
  const used = first(folders, "memory.usage_in_bytes") ?? first(folders, "memory.current") ?? "0";
  return {
    memory: { totalBytes, usedBytes: Math.min(totalBytes, Number(used)) },
    cpus: Array.from({ length: note.cpus }, (_, index) => ({
      ...{ name: `cpu${index}`, usage: Math.round(percent * 100) / 100, frequencyMhz: cpus()[0]?.speed ?? 0 },
    })),
    disks: [],
  };
}

function usedNs(folders: readonly string[]): number {
  const v1 = first(folders, "cpuacct.usage");
  if (v1 !== null) return Number(v1);
  return Number(/^usage_usec (\d+)$/m.exec(first(folders, "cpu.stat") ?? "")?.[1] ?? 0) * NS_PER_US;
}

function first(folders: readonly string[], name: string): string | null {
  const path = folders.map((folder) => join(folder, name)).find((each) => existsSync(each));
  try {
    return path === undefined ? null : readFileSync(path, "utf8").trim();
  } catch {
    // It ended meanwhile.
    return null;
  }
}
