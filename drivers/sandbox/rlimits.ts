// SPDX-License-Identifier: Apache-2.0
/**
 * Limits by process. With cgroups they only close what cgroups do not count (core dumps, open files);
 * without, they are the only limits there are, and weaker: address space and file size hold for one
 * process, not for the machine together, which the limit `no_cgroup` says in the proof.
 */
import type { Cgroups } from "./cgroups.ts";
import type { Rlimits } from "./enter.ts";

const MIB = 1024 * 1024;

export function rlimitsFor(machine: { memoryMiB: number; pidsMax: number }, kind: Cgroups["kind"]): Rlimits {
  const always: Rlimits = { core: 0, nofile: 1024 };
  if (kind !== "rlimits") return always;
  return { ...always, as: machine.memoryMiB * MIB, fsize: machine.memoryMiB * MIB, nproc: machine.pidsMax };
}
