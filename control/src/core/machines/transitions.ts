// SPDX-License-Identifier: Apache-2.0
/**
 * The life of a machine, as data. Desired moves down (`want`, `generation`), observed moves up
 * (`state`); this table is the only place that says which observation may change which state.
 *
 *     requested ──running──▶ running ──ended──▶ ended
 *         │  └─────────────ended──────────────▶ ended     (it died before it was seen running)
 *         └──refused, failed──▶ failed ◀──failed── running (the host has lost it)
 *
 * Kept machines go round besides, and may go round again under a new incarnation:
 *
 *     requested ──starting──▶ starting ──running──▶ running ──halted──▶ halted ──starting──▶ starting …
 *
 * A start that failed is `halted`, with a fault. `ended` and `failed` are final: a late report about a
 * machine that is over changes nothing.
 */
export type MachineState = "requested" | "starting" | "running" | "halted" | "ended" | "failed";
export type ObservedKind = "starting" | "running" | "halted" | "refused" | "failed" | "ended";

const OVER = { failed: "failed", ended: "ended" } as const;

const TABLE: Record<MachineState, Partial<Record<ObservedKind, MachineState>>> = {
  requested: { starting: "starting", running: "running", halted: "halted", refused: "failed", ...OVER },
  // Told again when it begins to cost something.
  starting: { starting: "starting", running: "running", halted: "halted", ...OVER },
  running: { starting: "starting", halted: "halted", ...OVER },
  halted: { starting: "starting", running: "running", ...OVER },
  ended: {},
  failed: {},
};

/** The state after the observation, or null when it changes nothing. */
export function nextState(state: MachineState, observed: ObservedKind): MachineState | null {
  return TABLE[state][observed] ?? null;
}

/** The same table read backwards: which states the observation changes, and into which. */
export function changeBy(observed: ObservedKind): { from: MachineState[]; to: MachineState } {
  const states = Object.keys(TABLE) as MachineState[];
  const from = states.filter((state) => TABLE[state][observed] !== undefined);
  return { from, to: TABLE[from[0]!][observed]! };
}

export const isOver = (state: string): boolean => state === "ended" || state === "failed";
