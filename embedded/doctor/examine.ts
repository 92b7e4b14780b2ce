// SPDX-License-Identifier: Apache-2.0
/**
 * Makes all checks at once, each within its own time, and draws the one conclusion an operator wants:
 * what runs here. A check that throws or is late is `missing`: what cannot be seen to work does not count.
 */
import { type Check, type Finding, type Here, missing, type Purpose } from "./check.ts";

/** How long a check that was told to stop may still take to clean up. */
const CLEANUP_MS = 5_000;

export type Examined = Omit<Check, "look" | "timeoutMs"> & Finding;

export interface Examination {
  checks: Examined[];
  sessions: boolean;
  workloads: boolean;
  /** Names of the hardware that was found switched on. */
  hardware: string[];
  sentence: string;
}

export async function examine(checks: readonly Check[], here: Here): Promise<Examination> {
  const examined = await Promise.all(
    checks.map(async ({ look, timeoutMs, ...check }) => ({
      ...check,
      ...(await inTime(look, here, timeoutMs)),
    })),
  );
  const lacking = (purpose: Purpose) =>
    examined.filter(({ state, needed }) => state === "missing" && needed.includes(purpose));
  const hardware = examined
    .filter(({ state, needed }) => state === "ok" && needed.includes("hardware"))
    .map(({ name }) => name);
  const verdict = (purpose: Purpose) => {
    const names = lacking(purpose).map(({ name }) => name);
    return names.length === 0 ? "yes" : `no (${names.join(", ")})`;
  };
  return {
    checks: examined,
    sessions: lacking("sessions").length === 0,
    workloads: lacking("workloads").length === 0,
    hardware,
    sentence: `Here: sessions ${verdict("sessions")}; workloads ${verdict("workloads")}; confidential hardware ${hardware.join(", ") || "no"}.`,
  };
}

export async function inTime(look: Check["look"], here: Here, timeoutMs: number): Promise<Finding> {
  const late = new AbortController();
  const seconds = timeoutMs / 1000;
  const timer = setTimeout(() => late.abort(new Error(`no answer within ${seconds} s`)), timeoutMs);
  let enough: NodeJS.Timeout | undefined;
  const hung = new Promise<never>((_, reject) => {
    late.signal.addEventListener("abort", () => {
      enough = setTimeout(() => reject(late.signal.reason), CLEANUP_MS);
    });
  });
  try {
    return await Promise.race([look(here, late.signal), hung]);
  } catch (error) {
    const why = late.signal.aborted ? late.signal.reason : error;
    return missing(oneLine(why instanceof Error ? why.message : String(why)));
  } finally {
    clearTimeout(timer);
    clearTimeout(enough);
  }
}

export const oneLine = (text: string) => text.trim().split("\n").at(-1)!.slice(0, 300);
