// SPDX-License-Identifier: Apache-2.0
/**
 * What each step's measurement allows it to claim. One function serves both sides: the builder lets
 * no step say `ok` against its own numbers, and the verifier refuses a proof in which one does. The
 * attacker here is an operator who measures honestly and then writes `ok: true`.
 *
 * A null is something that was not measured. It never counts as success, except where the context's
 * limits say that there was nothing to measure.
 */
import type { Context, Evidence } from "./document.ts";

type Of<S extends number> = Extract<Evidence[number], { step: S }>["measured"];

/** True when the measurement forbids `ok: true`. `recovered` as step 8 will state it. */
export function contradicts(
  evidence: Pick<Evidence[number], "step" | "measured">,
  context: Context,
  recovered: boolean,
): boolean {
  const measured = evidence.measured as never;
  switch (evidence.step) {
    case 1:
      return tasksRemain(measured, context);
    case 2:
      return filesReachable(measured);
    case 3:
      return contentsRemain(measured, context, recovered);
    case 4:
      return (measured as Of<4>).data_keys.some((key) => key.wiped === false);
    case 5:
      return credentialsRemain(measured, context);
    case 6:
      return probesFound(measured);
    default:
      return false;
  }
}

function tasksRemain(measured: Of<1>, context: Context): boolean {
  if (measured.tasks_found !== 0) return true;
  // Only a shared kernel has the following per task; elsewhere there is nothing of the kind to read.
  if (context.host.isolation !== "process") return false;
  const { seccomp_mode, no_new_privs, capabilities_effective } = measured;
  const read = [seccomp_mode, no_new_privs, capabilities_effective, measured.network_mode];
  const unmeasured = read.includes(null);
  if (unmeasured && !context.limits.includes("start_facts_lost")) return true;
  return no_new_privs === false || (seccomp_mode !== null && seccomp_mode !== 2);
}

function filesReachable(measured: Of<2>): boolean {
  return measured.mounts.some((mount) => mount.mountinfo_found !== 0 || mount.open_fds_found !== 0);
}

function contentsRemain(measured: Of<3>, context: Context, recovered: boolean): boolean {
  if (coresPossible(measured, context)) return true;
  // After a crash the files that were there are not the files that are there: nothing to claim.
  if (recovered && (measured.passes !== 0 || measured.bytes_overwritten !== 0)) return true;
  if (measured.passes === 0) {
    return measured.bytes_overwritten !== 0 || !context.limits.includes("overwrite_not_claimed");
  }
  return (
    measured.read_back_ok === false || (measured.read_back_ok === null && measured.bytes_overwritten > 0)
  );
}

/** The kernel reads a limit of 1 as "never", and any above it as leave to write memory to a disk. */
function coresPossible({ core_limit_bytes: bytes }: Of<3>, context: Context): boolean {
  if (context.host.isolation !== "process") return false;
  return bytes === null ? !context.limits.includes("start_facts_lost") : bytes > 1;
}

function credentialsRemain(measured: Of<5>, context: Context): boolean {
  if (!measured.lookup_absent || measured.uid_released === false || measured.cgroup_removed === false) {
    return true;
  }
  const lost = context.limits.includes("start_facts_lost");
  if (measured.uid_released === null && !lost && !context.limits.includes("shared_uid")) return true;
  return measured.cgroup_removed === null && !lost && !context.limits.includes("no_cgroup");
}

function probesFound(measured: Of<6>): boolean {
  if ((measured.zero_root === null) !== (measured.zero_chunks === 0)) return true;
  return measured.probes.some((probe) => !probe.ok || probe.expected !== probe.observed);
}
