// SPDX-License-Identifier: Apache-2.0
/**
 * Hours and money as a bill has them. Both are integers until they are written, milliseconds and micro-units of USD, and what is
 * multiplied is multiplied exactly: a year of a thousand instances is beyond what a double counts.
 */

export interface Pricing {
  subscriptionMicros: number;
  /** In the subscription. */
  hoursIncluded: number;
  overageMicrosPerHour: number;
}

const HOUR_MS = 3_600_000;
const MICROS_PER_CENT = 10_000n;
/** Of hours: a third of a second. */
const DECIMALS = 10_000;

/** A JSON number of hours, rounded to four places. */
export const hoursOf = (ms: number): number => Math.round((ms * DECIMALS) / HOUR_MS) / DECIMALS;

/** Dollars with two decimals; half a cent counts as one. */
export function usdOf(micros: number): string {
  const cents = String((BigInt(micros) + MICROS_PER_CENT / 2n) / MICROS_PER_CENT).padStart(3, "0");
  return `${cents.slice(0, -2)}.${cents.slice(-2)}`;
}

export const overageMsOf = (usedMs: number, { hoursIncluded }: Pricing): number =>
  Math.max(0, usedMs - hoursIncluded * HOUR_MS);

/** Rounded down: nothing is charged that was not reached. */
export const overageMicrosOf = (usedMs: number, pricing: Pricing): number =>
  Number((BigInt(overageMsOf(usedMs, pricing)) * BigInt(pricing.overageMicrosPerHour)) / BigInt(HOUR_MS));
