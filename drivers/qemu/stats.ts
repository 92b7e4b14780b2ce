// SPDX-License-Identifier: Apache-2.0
/** What a machine uses, as this computer sees it: the guest's own figures are its customer's to make up. */
import { statSync } from "node:fs";
import { cpus } from "node:os";
import type { MachineStats } from "../kept-driver.ts";
import type { VmNote } from "./note.ts";
import type { Place } from "./place.ts";
import { usageOf } from "./processes.ts";

const MIB = 1024 * 1024;
const SAMPLE_MS = 200;
const BLOCK_BYTES = 512;

export async function machineStats(note: VmNote, place: Place): Promise<MachineStats> {
  const [before, from] = [usageOf(note.qemu), process.hrtime.bigint()];
  await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
  const [after, to] = [usageOf(note.qemu), process.hrtime.bigint()];
  const spentNs = before === null || after === null ? 0 : after.cpuNs - before.cpuNs;
  const percent = Math.max(0, (spentNs / Number(to - from)) * 100) / note.cpus;
  const totalBytes = note.memoryMiB * MIB;
  const blocks = statSync(place.state, { throwIfNoEntry: false })?.blocks ?? 0;
  return {
    // With QEMU's own share, which would otherwise show more than there is.
    memory: { totalBytes, usedBytes: Math.min(totalBytes, after?.memoryBytes ?? 0) },
    cpus: Array.from({ length: note.cpus }, (_, index) => ({
      name: `cpu${index}`,
      usage: Math.round(percent * 100) / 100,
      frequencyMhz: cpus()[0]?.speed ?? 0,
    })),
    disks:
      note.stateMiB === 0
        ? []
        : [
            {
              ...{ name: "state", mountPoint: "/", filesystem: "raw" },
              ...{ sizeBytes: note.stateMiB * MIB, usedBytes: blocks * BLOCK_BYTES },
            },
          ],
  };
}
