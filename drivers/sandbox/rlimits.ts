// SPDX-License-Identifier: Apache-2.0
/**
 * Limits by process. With cgroups they only close what cgroups do not count (core dumps, open files);
 * without, they are the only limits there are, and weaker: address space and file size hold for one
 * process, not for the machine together, which the limit `no_cgroup` says in the proof.
 */
import type { Cgroups } from "./cgroups.ts";
import type { Rlimits } from "./enter.ts";

const MIB = 1024 * 1024;

/**
 * Not 0: where core_pattern is a pipe (systemd-coredump, apport) the kernel ignores the limit and hands
 * the session's memory to a host program that stores it — except at 1, which it reads as "never". For
 * core files 1 is as good as 0, being less than the smallest core. The filter keeps it from being changed.
 */
export const CORE_LIMIT_BYTES = 1;

export function rlimitsFor(machine: { memoryMiB: number; pidsMax: number }, kind: Cgroups["kind"]): Rlimits {
  const always: Rlimits = { core: CORE_LIMIT_BYTES, nofile: 1024 };
  if (kind !== "rlimits") return always;
  return { ...always, as: machine.memoryMiB * MIB, fsize: machine.memoryMiB * MIB, nproc: machine.pidsMax };
}
