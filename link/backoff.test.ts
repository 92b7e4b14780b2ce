// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { waitMs } from "./backoff.ts";

const backoff = { firstMs: 50, mostMs: 5_000 };

test("waits double up to the most and lie in the upper half", () => {
  const ceilings = [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000];
  ceilings.forEach((ceiling, failures) => {
    expect(waitMs(backoff, failures, () => 0)).toBe(ceiling / 2);
    expect(waitMs(backoff, failures, () => 0.999_999)).toBe(ceiling);
  });
  expect(waitMs(backoff, 10_000, () => 0.999_999)).toBe(5_000);
});
