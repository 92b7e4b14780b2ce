// SPDX-License-Identifier: Apache-2.0
/**
 * What this host will run at most, decided by whoever operates it and not by control: a control that
 * was taken over can fill a host up to here and no further.
 */
import type { Isolation, MachineSpec } from "#contract/link/machine.ts";

export interface Ceiling {
  machines: number;
  memoryMiB: number;
  cpuMillis: number;
  pidsMax: number;
  /** Memory of all machines together. */
  memoryTotalMiB: number;
  isolations: Isolation[];
}

/** Why the machine is refused, in public words; undefined when it fits. */
export function refusal(
  ceiling: Ceiling,
  spec: MachineSpec,
  present: readonly MachineSpec[],
): string | undefined {
  if (!ceiling.isolations.includes(spec.isolation)) return `isolation ${spec.isolation} is not offered here`;
  if (spec.memoryMiB > ceiling.memoryMiB)
    return `${spec.memoryMiB} MiB is over the ceiling of ${ceiling.memoryMiB} MiB`;
  if (spec.cpuMillis > ceiling.cpuMillis)
    return `${spec.cpuMillis} CPU thousandths is over the ceiling of ${ceiling.cpuMillis}`;
  if (spec.pidsMax > ceiling.pidsMax)
    return `${spec.pidsMax} processes is over the ceiling of ${ceiling.pidsMax}`;
  if (present.length >= ceiling.machines) return `the ceiling of ${ceiling.machines} machines is reached`;
  const used = present.reduce((sum, one) => sum + one.memoryMiB, 0);
  if (used + spec.memoryMiB > ceiling.memoryTotalMiB)
    return `the ceiling of ${ceiling.memoryTotalMiB} MiB for all machines is reached`;
  return undefined;
}
