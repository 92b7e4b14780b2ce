// SPDX-License-Identifier: Apache-2.0
/** What there is to see of a running machine: its containers and what it uses. */
import { statfs } from "node:fs/promises";
import { cpus } from "node:os";
import type Docker from "dockerode";
import type { ContainerFacts, MachineStats } from "../kept-driver.ts";
import { type CgroupKind, usageOf } from "./cgroup-parent.ts";
import { listContainers, listVolumes, type MachineContainer } from "./engine.ts";
import type { MachineNote } from "./notes.ts";
import { runProgram } from "./program.ts";

const MIB = 1024 * 1024;
const SAMPLE_MS = 200;
const MEASURE_MS = 20_000;

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
}

export async function machineStats(
  place: StatsPlace,
  machineId: string,
  note: MachineNote,
): Promise<MachineStats> {
  const { engine, owner, kind } = place;
  const [before, from] = [usageOf(kind, owner, machineId), process.hrtime.bigint()];
  const [disk] = await Promise.all([
    diskUse(engine, owner, machineId, note),
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

/** Volumes, and what containers wrote beside them. The size is what was granted; the engine does not enforce it. */
async function diskUse(engine: Docker, owner: string, machineId: string, note: MachineNote) {
  const [volumes, containers, { DockerRootDir, Driver }] = await Promise.all([
    listVolumes(engine, owner, machineId),
    engine.listContainers({
      all: true,
      size: true,
      filters: { label: [`casemate.owner=${owner}`, `casemate.machine=${machineId}`] },
    }) as Promise<(Docker.ContainerInfo & { SizeRw?: number })[]>,
    engine.info() as Promise<{ DockerRootDir: string; Driver: string }>,
  ]);
  const written = containers.reduce((sum, { SizeRw }) => sum + (SizeRw ?? 0), 0);
  const paths = volumes.map(({ Mountpoint }) => Mountpoint).filter((path) => path.startsWith("/"));
  // Only sizes are read, and du follows no link that a container placed there.
  const measured =
    paths.length === 0
      ? null
      : await runProgram(["du", "-s", "-x", "--block-size=1", "--", ...paths], {
          timeoutMs: MEASURE_MS,
        }).catch(() => null);
  const used = (measured?.stdout ?? "")
    .split("\n")
    .reduce((sum, line) => sum + (Number.parseInt(line, 10) || 0), 0);
  const granted = note.diskMiB ?? 0;
  const whole = granted > 0 ? null : await statfs(DockerRootDir).catch(() => null);
  return {
    name: "disk0",
    mountPoint: "/",
    filesystem: Driver,
    sizeBytes: whole === null ? granted * MIB : whole.blocks * whole.bsize,
    usedBytes: written + used,
  };
}
