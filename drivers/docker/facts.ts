// SPDX-License-Identifier: Apache-2.0
/** What there is to see of a running machine: its containers and what it uses. */
import { statfs } from "node:fs/promises";
import { cpus } from "node:os";
import type Docker from "dockerode";
import type { ContainerFacts, MachineStats } from "../kept-driver.ts";
import { type CgroupKind, usageOf } from "./cgroup-parent.ts";
import type { Disk } from "./disk.ts";
import { listContainers, type MachineContainer } from "./engine.ts";
import type { MachineNote } from "./notes.ts";

const MIB = 1024 * 1024;
const SAMPLE_MS = 200;

export async function containerFacts(
  engine: Docker,
  owner: string,
  machineId: string,
): Promise<ContainerFacts[]> {
  return (await listContainers(engine, owner, machineId)).map((each) => ({
    names: namesOf(each),
    image: each.info.Image.replace(/^docker\.io\/(?:library\/)?/, ""),
    imageId: each.info.ImageID,
    state: each.info.State,
  }));
}

/** The service's name is what people use; the engine's own name comes after it. */
export function namesOf({ service, info }: MachineContainer): string[] {
  const number = info.Labels["com.docker.compose.container-number"] ?? "1";
  return [
    number === "1" ? service : `${service}-${number}`,
    ...info.Names.map((name) => name.replace(/^\//, "")),
  ];
}

export interface StatsPlace {
  engine: Docker;
  owner: string;
  kind: CgroupKind;
  disk: Disk;
}

export async function machineStats(
  place: StatsPlace,
  machineId: string,
  note: MachineNote,
): Promise<MachineStats> {
  const { owner, kind } = place;
  const [before, from] = [usageOf(kind, owner, machineId), process.hrtime.bigint()];
  const [disk] = await Promise.all([
    diskFacts(place, machineId, note),
    new Promise((resolve) => setTimeout(resolve, SAMPLE_MS)),
  ]);
  const [after, to] = [usageOf(kind, owner, machineId), process.hrtime.bigint()];
  const spentNs = before === null || after === null ? 0 : after.cpuNs - before.cpuNs;
  const count = Math.max(1, Math.ceil(note.limits.cpuMillis / 1000));
  const percent = Math.max(0, (spentNs / Number(to - from)) * 100) / count;
  const frequencyMhz = cpus()[0]?.speed ?? 0;
  return {
    memory: { totalBytes: note.limits.memoryMiB * MIB, usedBytes: Math.max(0, after?.memoryBytes ?? 0) },
    // The kernel counts the machine as a whole, so that each cpu shows its share.
    cpus: Array.from({ length: count }, (_, index) => ({
      name: `cpu${index}`,
      usage: Math.round(percent * 100) / 100,
      frequencyMhz,
    })),
    disks: [disk],
  };
}

async function diskFacts({ engine, disk }: StatsPlace, machineId: string, note: MachineNote) {
  const [{ usedBytes }, { DockerRootDir, Driver }] = await Promise.all([
    disk.use(machineId),
    engine.info() as Promise<{ DockerRootDir: string; Driver: string }>,
  ]);
  const granted = note.diskMiB ?? 0;
  const whole = granted > 0 ? null : await statfs(DockerRootDir).catch(() => null);
  return {
    name: "disk0",
    mountPoint: "/",
    filesystem: Driver,
    sizeBytes: whole === null ? granted * MIB : whole.blocks * whole.bsize,
    usedBytes,
  };
}
