// SPDX-License-Identifier: Apache-2.0
/** Trailers of streams about kept machines. */

export interface ContainerFacts {
  names: string[];
  image: string;
  imageId: string;
  /** created, running, restarting, exited, dead … as the engine says. */
  state: string;
}

export interface MachineStats {
  memory: { totalBytes: number; usedBytes: number };
  /** `usage` in percent of one cpu, `frequencyMhz` as the host's. */
  cpus: { name: string; usage: number; frequencyMhz: number }[];
  disks: { name: string; mountPoint: string; filesystem: string; sizeBytes: number; usedBytes: number }[];
}
