// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { expect, it } from "vitest";
import { pauseMs } from "./retry.ts";

const DAYS_MS = 3 * 24 * 3_600_000;

function schedule(chances: number[]): number[] {
  const at = [0];
  for (let attempts = 1; ; attempts++) {
    const chance = chances[attempts % chances.length]!;
    const pause = pauseMs({ attempts, ageMs: at.at(-1)!, firstMs: 5_000, chance });
    if (pause === null) return at;
    at.push(at.at(-1)! + pause);
  }
}

it("tries soon at first, ever more rarely, and a last time after three days, whatever the chances", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1 }), (chances) => {
      const at = schedule(chances);
      expect(at[1]).toBeLessThanOrEqual(5_000);
      expect(at[2]).toBeLessThanOrEqual(25_000);
      expect(at.at(-1)).toBe(DAYS_MS);
      expect(at.length).toBeGreaterThan(11);
      expect(at.length).toBeLessThan(20);
      for (let n = 1; n < at.length; n++) expect(at[n]! - at[n - 1]!).toBeLessThanOrEqual(12 * 3_600_000);
    }),
  );
});

it("waits whole seconds, as the queue counts, and at least one", () => {
  expect(pauseMs({ attempts: 1, ageMs: 0, firstMs: 1, chance: 0.5 })).toBe(1000);
  expect(pauseMs({ attempts: 3, ageMs: 0, firstMs: 5_000, chance: 0.333 })! % 1000).toBe(0);
});

it("does not overflow for what was tried without end", () => {
  expect(pauseMs({ attempts: 1e6, ageMs: 0, firstMs: 5_000, chance: 0 })).toBe(12 * 3_600_000);
});
