// SPDX-License-Identifier: Apache-2.0
/**
 * What kept machines may have of this host together, by its own configuration: whoever has taken control over cannot place more here.
 * Halted machines keep their disk and give back the rest.
 */
import { type Desired, diskMiBOf } from "#contract/link/machine.ts";

export interface KeptCeiling {
  cpuMillis: number;
  memoryMiB: number;
  diskMiB: number;
}

/** Why it cannot be here beside the others; undefined: it can. */
export function refusalOf(
  ceiling: KeptCeiling,
  desired: Desired,
  others: readonly Desired[],
): string | undefined {
  const all = [...others, desired];
  const up = all.filter(({ want }) => want === "up");
  const sum = (list: readonly Desired[], of: (one: Desired) => number) =>
    list.reduce((total, one) => total + of(one), 0);
  if (sum(up, ({ spec }) => spec.cpuMillis) > ceiling.cpuMillis) return "no cpu left on this host";
  if (sum(up, ({ spec }) => spec.memoryMiB) > ceiling.memoryMiB) return "no memory left on this host";
  if (sum(all, ({ spec }) => diskMiBOf(spec)) > ceiling.diskMiB) return "no disk left on this host";
  return undefined;
}
