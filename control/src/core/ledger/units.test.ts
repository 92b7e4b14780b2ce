// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AMOUNT_MAX_MICROS, MICROS_PER_CREDIT, MICROS_PER_USD, toMicros, toUnits } from "./index.ts";

describe("an amount", () => {
  it("comes back from credits and dollars as it went, to the micro-unit, also as JSON text", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -AMOUNT_MAX_MICROS, max: AMOUNT_MAX_MICROS }),
        fc.integer({ min: 0, max: 9 }),
        (micros, zeros) => {
          const wire = JSON.stringify(toUnits(micros, 10 ** zeros));
          expect(toMicros(JSON.parse(wire), 10 ** zeros)).toBe(micros === 0 ? 0 : micros);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("is the digits that were written, where a multiplication would be beside it", () => {
    expect(1.005 * MICROS_PER_CREDIT).not.toBe(10_050);
    expect(toMicros(1.005, MICROS_PER_CREDIT)).toBe(10_050);
    expect(toMicros(1e-6, MICROS_PER_USD)).toBe(1);
    expect(toMicros(250, MICROS_PER_CREDIT)).toBe(2_500_000);
    expect(toUnits(12_345, MICROS_PER_CREDIT)).toBe(1.2345);
  });

  it.each([0.00001, 1e-7, 1.00005, 1e12, 1e300, Number.NaN, Number.POSITIVE_INFINITY])(
    "of %f credits is none",
    (credits) => expect(toMicros(credits, MICROS_PER_CREDIT)).toBeNull(),
  );

  it("has no unit that would need rounding", () => {
    for (const unit of [0, 3, 15_000, 0.1, -10, 1e21]) expect(() => toUnits(1, unit)).toThrow(RangeError);
  });
});
