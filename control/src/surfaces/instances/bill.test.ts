// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hoursOf, overageMicrosOf, overageMsOf, usdOf } from "./bill.ts";

const HOUR_MS = 3_600_000;
const pricing = { subscriptionMicros: 200_000_000, hoursIncluded: 200, overageMicrosPerHour: 450_000 };

describe("a bill", () => {
  it.each([
    [0, "0.00"],
    [4_999, "0.00"],
    [5_000, "0.01"],
    [28_230_000, "28.23"],
    [200_000_000, "200.00"],
    [999_995_000, "1000.00"],
    [9_007_199_254_740_991, "9007199254.74"],
  ])("writes %i micro-units as %s", (micros, usd) => expect(usdOf(micros)).toBe(usd));

  it("writes what is at most half a cent from what it is", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (micros) => {
        const text = usdOf(micros);
        expect(text).toMatch(/^\d+\.\d\d$/);
        const off = BigInt(text.replace(".", "")) * 10_000n - BigInt(micros);
        expect(off > -5_000n && off <= 5_000n).toBe(true);
      }),
    );
  });

  it("counts hours to a third of a second", () => {
    expect([hoursOf(0), hoursOf(HOUR_MS), hoursOf(513_720_000)]).toEqual([0, 1, 142.7]);
    expect(hoursOf(1_000)).toBe(0.0003);
  });

  it("has no overage up to the last millisecond that is included, and the price of each hour after it", () => {
    expect(overageMicrosOf(200 * HOUR_MS, pricing)).toBe(0);
    expect(overageMicrosOf(201 * HOUR_MS, pricing)).toBe(450_000);
    expect(overageMicrosOf(200 * HOUR_MS + HOUR_MS / 2, pricing)).toBe(225_000);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 200 * HOUR_MS }), (ms) => {
        expect([overageMsOf(ms, pricing), overageMicrosOf(ms, pricing)]).toEqual([0, 0]);
      }),
    );
  });

  it("never charges less for more, nor a micro-unit that was not reached, however much it is", () => {
    const most = { ...pricing, overageMicrosPerHour: 10_000_000 };
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e13 }), fc.integer({ min: 0, max: 1e11 }), (ms, more) => {
        const micros = overageMicrosOf(ms, most);
        expect(overageMicrosOf(ms + more, most)).toBeGreaterThanOrEqual(micros);
        const exact = BigInt(overageMsOf(ms, most)) * BigInt(most.overageMicrosPerHour);
        expect(BigInt(micros) * BigInt(HOUR_MS) <= exact).toBe(true);
        expect((BigInt(micros) + 1n) * BigInt(HOUR_MS) > exact).toBe(true);
      }),
    );
  });
});
