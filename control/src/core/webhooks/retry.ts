// SPDX-License-Identifier: Apache-2.0
/**
 * When a delivery that failed is tried again: four times as long each time, at most twelve hours, with some
 * chance in it so that a receiver that comes back is not met by everything at once; for three days, and a
 * last time at their end.
 */
const FACTOR = 4;
const LONGEST_MS = 12 * 3_600_000;
const FOR_MS = 3 * 24 * 3_600_000;
const SPREAD = 0.2;

export interface Tried {
  /** Attempts that were made, at least one. */
  attempts: number;
  /** Since the delivery was made. */
  ageMs: number;
  /** Pause before the second attempt. */
  firstMs: number;
  /** From 0 to 1. */
  chance: number;
}

/** Whole seconds in milliseconds, or null when there is no further try. */
export function pauseMs({ attempts, ageMs, firstMs, chance }: Tried): number | null {
  if (ageMs >= FOR_MS) return null;
  const grown = Math.min(LONGEST_MS, firstMs * FACTOR ** (attempts - 1));
  const pause = Math.min(grown * (1 - SPREAD * chance), FOR_MS - ageMs);
  return Math.max(1, Math.ceil(pause / 1000)) * 1000;
}
