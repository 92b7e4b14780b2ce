// SPDX-License-Identifier: Apache-2.0
/** From the words of the workloads surface to the core's: a workload is a kept machine with a compose payload. */
import type { MachineSpec } from "#contract/link/machine.ts";
import type { WorkloadIsolation } from "./isolation.ts";

export interface Size {
  cpus: number;
  memory_mb: number;
  disk_gb: number;
}

/** Processes a machine may have for each of its cpus. */
const PIDS_PER_CPU = 4096;
/** Images are unpacked there, and what containers write and need not keep. */
const SCRATCH_PER_MEMORY = 2;

export function toMachineSpec(
  about: { workload: string; account: string; domains: string[] },
  size: Size,
  isolation: WorkloadIsolation,
): MachineSpec {
  return {
    isolation,
    image: null,
    cpuMillis: size.cpus * 1000,
    memoryMiB: size.memory_mb,
    pidsMax: size.cpus * PIDS_PER_CPU,
    network: "own",
    endProof: null,
    kept: {
      diskMiB: size.disk_gb * 1024,
      ...scratchOf(size, isolation),
      labels: { "casemate.account": about.account, "casemate.workload": about.workload },
      domains: about.domains,
    },
  };
}

/** A virtual machine without a disk keeps its images somewhere; containers' are in the engine's own place. */
const scratchOf = ({ disk_gb, memory_mb }: Size, isolation: WorkloadIsolation) =>
  isolation === "container" || disk_gb > 0 ? {} : { scratchMiB: SCRATCH_PER_MEMORY * memory_mb };
