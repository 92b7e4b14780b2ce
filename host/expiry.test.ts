// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Expiry } from "./expiry.ts";

let expired: string[];
let expiry: Expiry;
beforeEach(() => {
  vi.useFakeTimers();
  expired = [];
  expiry = new Expiry(1_000, (id) => expired.push(id));
});
afterEach(() => {
  expiry.close();
  vi.useRealTimers();
});

test("a machine expires after its time and the grace, once", () => {
  expiry.set("a", 5_000);
  vi.advanceTimersByTime(5_999);
  expect(expired).toEqual([]);
  vi.advanceTimersByTime(2);
  expect(expired).toEqual(["a"]);
  vi.advanceTimersByTime(60_000);
  expect(expired).toEqual(["a"]);
});

test("a longer time replaces a shorter one, and null is for ever", () => {
  expiry.set("a", 5_000);
  expiry.set("b", 5_000);
  expiry.set("a", 20_000);
  expiry.set("b", null);
  vi.advanceTimersByTime(20_000);
  expect(expired).toEqual([]);
  vi.advanceTimersByTime(1_001);
  expect(expired).toEqual(["a"]);
});

test("a time beyond what one timer holds is kept, not cut", () => {
  const days = 60 * 24 * 3_600_000;
  expiry.set("a", days);
  vi.advanceTimersByTime(days);
  expect(expired).toEqual([]);
  vi.advanceTimersByTime(1_002);
  expect(expired).toEqual(["a"]);
});

test("a wall clock that jumps neither ends nor spares a machine", () => {
  expiry.set("a", 5_000);
  vi.setSystemTime(Date.now() + 86_400_000);
  vi.advanceTimersByTime(5_000);
  expect(expired).toEqual([]);
  vi.setSystemTime(Date.now() - 7 * 86_400_000);
  vi.advanceTimersByTime(1_001);
  expect(expired).toEqual(["a"]);
});
