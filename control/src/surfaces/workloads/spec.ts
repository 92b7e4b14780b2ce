// SPDX-License-Identifier: Apache-2.0
/** From the words of the workloads surface to the core's: a workload is a kept machine with a compose payload. */
import type { MachineSpec } from "#contract/link/machine.ts";

export interface Size {
  cpus: number;
  memory_mb: number;
  disk_gb: number;
}

/** Processes a machine may have for each of its cpus. */
const PIDS_PER_CPU = 4096;

export function toMachineSpec(
  about: { workload: string; account: string; domains: string[] },
  size: Size,
): MachineSpec {
  return {
    isolation: "container",
    image: null,
    cpuMillis: size.cpus * 1000,
    memoryMiB: size.memory_mb,
    pidsMax: size.cpus * PIDS_PER_CPU,
    network: "own",
    endProof: null,
    kept: {
      diskMiB: size.disk_gb * 1024,
      labels: { "casemate.account": about.account, "casemate.workload": about.workload },
      domains: about.domains,
    },
  };
}
