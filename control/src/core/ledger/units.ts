// SPDX-License-Identifier: Apache-2.0
/**
 * Micro-units of USD as people count them: credits, at a configured rate, or dollars. A unit is a power of
 * ten micro-units, so both directions only move the decimal point and nothing is rounded. Another rate
 * would give credits with more digits than a JSON number carries, and a balance that changes on its way
 * through a client.
 */

export const MICROS_PER_USD = 1_000_000;
/** One credit is a cent. */
export const MICROS_PER_CREDIT = 10_000;

/** Fifteen digits: what a double carries to the letter. A thousand million dollars. */
export const AMOUNT_MAX_MICROS = 1e15;

export function toUnits(micros: number, microsPerUnit: number): number {
  return Number(`${micros}e-${pointOf(microsPerUnit)}`);
}

/** Null when it is no whole number of micro-units, or too large to be an amount. */
export function toMicros(units: number, microsPerUnit: number): number | null {
  if (!Number.isFinite(units)) return null;
  const [mantissa, exponent = "0"] = String(units).split("e") as [string, string?];
  const point = Number(exponent) + pointOf(microsPerUnit);
  // What was written, digit for digit; 1.005 * 10_000 is 10049.999999999998.
  const decimals = mantissa.split(".")[1]?.length ?? 0;
  const micros = Number(`${mantissa}e${point}`);
  return decimals <= point && Math.abs(micros) <= AMOUNT_MAX_MICROS ? micros : null;
}

function pointOf(microsPerUnit: number): number {
  const zeros = /^10{0,9}$/.exec(String(microsPerUnit))?.[0];
  if (zeros === undefined) throw new RangeError("a unit must be a power of ten micro-units");
  return zeros.length - 1;
}
