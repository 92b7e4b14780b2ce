// SPDX-License-Identifier: Apache-2.0
/** The eight steps of a proof in words, each with the numbers that were measured. Nothing is concluded here. */
import type { Evidence } from "#evidence/proofs/document.ts";
import { bytes, count, yes } from "./plain.ts";

export interface StepText {
  number: number;
  title: string;
  ok: boolean;
  /** When, and for how long. */
  time: string;
  measured: string[];
  /** What a step that is well shows, and no more. */
  shows: string;
  /** What could not be measured, and why. */
  skipped: string[];
}

const TITLES = [
  ["Processes ended", "No task of the session runs."],
  ["File systems removed", "The session's files cannot be reached."],
  ["Files overwritten", "Contents of files present at the end were cleared."],
  ["Data keys released", "The host's record of the session can no longer be opened."],
  ["Identity withdrawn", "What the session was known by on its host is gone."],
  ["Search for remains", "These probes found nothing, and only these."],
  ["Record sealed", "The order of the session's events is fixed, for whoever holds them."],
  ["End state", "How the session ended."],
] as const;

export function stepTexts(evidence: Evidence): StepText[] {
  const lines = [
    processes(evidence[0].measured),
    evidence[1].measured.mounts.map(mount),
    overwrite(evidence[2].measured),
    evidence[3].measured.data_keys.map(dataKey),
    identity(evidence[4].measured),
    search(evidence[5].measured),
    seal(evidence[6].measured),
    end(evidence[7].measured),
  ];
  return evidence.map(({ step, ok, started_at, ended_at, duration_ms, skipped }, index) => ({
    ...{ number: step, title: TITLES[index]![0], ok },
    // A scan that could not look everywhere must not read as one that did.
    shows: `${TITLES[index]![1]}${skipped.length > 0 ? " What was not measured is not part of that." : ""}`,
    time: `${started_at} to ${ended_at}, ${count(duration_ms)} ms`,
    measured: lines[index]!.length > 0 ? lines[index]! : ["Nothing of this kind was there."],
    skipped: skipped.map(({ name, reason }) => `${name}: ${reason}`),
  }));
}

function processes(of: Evidence[0]["measured"]): string[] {
  const empty = of.empty_after_ms === null ? "not measured" : `${count(of.empty_after_ms)} ms`;
  return [
    `Tasks found afterwards in the session's namespaces: ${count(of.tasks_found)}`,
    `Ended by ${of.kill_method}; time until none was left: ${empty}`,
    `Process 1 had seccomp mode ${count(of.seccomp_mode)}, no_new_privs ${yes(of.no_new_privs)}, ` +
      `capabilities ${of.capabilities_effective ?? "not measured"}, network ${of.network_mode ?? "not measured"}`,
  ];
}

const mount = (of: Evidence[1]["measured"]["mounts"][number]): string =>
  `${of.target}: files at the end: ${count(of.files)}, ${bytes(of.bytes)}; afterwards mount entries: ` +
  `${count(of.mountinfo_found)}, open descriptors: ${count(of.open_fds_found)}`;

function overwrite(of: Evidence[2]["measured"]): string[] {
  const core = of.core_limit_bytes === null ? "not measured" : bytes(of.core_limit_bytes);
  return [
    `Passes of zeros: ${count(of.passes)}; files: ${count(of.files_overwritten)}, ${bytes(of.bytes_overwritten)}; skipped: ${bytes(of.bytes_skipped)}`,
    `Read back as zeros by another process: ${yes(of.read_back_ok)}`,
    `Swap devices: ${count(of.swap_devices)}; kept from swap: ${yes(of.noswap)}; zswap: ${yes(of.zswap)}; ` +
      `kernel clears freed memory: ${yes(of.init_on_free)}; core limit: ${core}`,
  ];
}

const dataKey = (of: Evidence[3]["measured"]["data_keys"][number]): string =>
  `Key of ${of.purpose}: ${count(of.strength_bits)} bits, wiped by ${of.wipe_method}, read back as zeros: ${yes(of.wiped)}`;

const identity = (of: Evidence[4]["measured"]): string[] => [
  `User id released: ${yes(of.uid_released)}; cgroup removed: ${yes(of.cgroup_removed)}; places released: ${count(of.slots_released)}`,
  `Absent when looked up: ${yes(of.lookup_absent)}; tokens released: ${count(of.tokens_released)}`,
];

const search = (of: Evidence[5]["measured"]): string[] => [
  ...of.probes.map(
    ({ name, expected, observed, ok }) =>
      `${name}: expected: ${expected}; observed: ${observed}${ok ? "" : " (NOT AS EXPECTED)"}`,
  ),
  `Pieces of at most 1 MiB read back: ${count(of.zero_chunks)}${of.zero_root === null ? "" : `, Merkle root ${of.zero_root}`}`,
];

const seal = (of: Evidence[6]["measured"]): string[] => [
  `Events of the session: ${count(of.event_count)}; hash of the last: ${of.event_head}`,
];

function end(of: Evidence[7]["measured"]): string[] {
  const failed = of.failed_steps.length === 0 ? "none" : of.failed_steps.join(", ");
  return [
    `State: ${of.end_state}, at ${of.destroyed_at}; outcome: ${of.outcome}; failed steps: ${failed}`,
    ...(of.recovered === null
      ? []
      : ["Written by a later process, which found the session dead after a crash"]),
  ];
}
