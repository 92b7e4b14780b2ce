// SPDX-License-Identifier: Apache-2.0
/**
 * What became of one device of a rollout, by what its server has reported. Pure: what is seen is given,
 * with every time compared by the database's clock.
 *
 *     queued ──▶ changing ──▶ healthy          and from each: overtaken, gone
 *                    │  ▲ ╲      │ │
 *                    ▼  │  ╲     ▼ ▼
 *              timed_out┘   └▶ failed
 *
 *  A. Healthy is what a server has said of a wish that holds the change, never that nothing was heard.
 *  B. A trial that failed is held against the devices that the server names, and against all that the wish
 *     changed when it names none. A later wish of somebody else's that failed is not held against this one.
 *  C. Whoever saves other pipelines on a device takes it out: what was done by hand is not undone here.
 *  D. Once a device is being taken back, what its change was is settled.
 */
import type { ROLLOUT_DEVICE_STATUSES } from "#contract/devices/rollouts.ts";

export type DeviceStatus = (typeof ROLLOUT_DEVICE_STATUSES)[number];
export type Back = "asked" | "done" | "unanswered" | null;

export interface Seen {
  status: DeviceStatus;
  back: Back;
  gone: boolean;
  /** It has the pipelines that the rollout gave it last, or found. */
  ours: boolean;
  /** The server runs the wish that told it, or a later one. */
  taken: boolean;
  /** The server has tried that wish, or a later one. */
  tried: boolean;
  /** What it tried last failed its trial; what it runs is older. */
  trialFailed: boolean;
  /** The failed trial is held against this device. */
  named: boolean;
  health: "unknown" | "ok" | "degraded" | "failed";
  /** The server was heard of since the device has this status. */
  heard: boolean;
  /** The server was not heard of for the time that a device has. */
  silent: boolean;
  /** The device has this status for that time. */
  late: boolean;
}

export interface Verdict {
  status: DeviceStatus;
  back: Back;
}

export function verdictOf(seen: Seen): Verdict {
  const { status, back, taken, health, trialFailed } = seen;
  const stays = { status, back };
  const becomes = (next: DeviceStatus): Verdict => ({ status: next, back });
  if (seen.gone) return { status: "gone", back: null };
  if (!seen.ours) return { status: "overtaken", back: null }; // C
  if (back !== null) {
    if (taken) return { status, back: "done" }; // D
    return back === "asked" && seen.late ? { status, back: "unanswered" } : stays;
  }
  if (status === "queued" || status === "failed") return stays;
  if (seen.tried && trialFailed && !taken && seen.named) return becomes("failed"); // B
  // What runs is judged by its health, which a failed trial of something later has lowered.
  const well = health === "ok" || trialFailed;
  if (status === "healthy") {
    if (taken && !well && health !== "unknown") return becomes("failed");
    return seen.silent ? becomes("timed_out") : stays;
  }
  if (taken && well && (status === "changing" || seen.heard)) return becomes("healthy");
  if (taken && health === "failed" && !trialFailed) return becomes("failed");
  return status === "changing" && seen.late ? becomes("timed_out") : stays;
}
