// SPDX-License-Identifier: Apache-2.0
/** Months over leap years, ends of months, places with summer time, and clocks that are set back. */
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { cycleAt, daysOf, monthsAfter } from "./cycles.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const at = (text: string) => new Date(text);
const text = (date: Date) => date.toISOString();
const instants = (from: string, to: string) =>
  fc.integer({ min: Date.parse(from) / 1000, max: Date.parse(to) / 1000 }).map((s) => new Date(s * 1000));
/** A signup, and a later time of up to forty years. */
const anchors = instants("1996-01-01T00:00:00Z", "2104-12-31T23:59:59Z");
const laters = fc.integer({ min: 0, max: 40 * 366 * DAY_MS });

const zone = process.env.TZ;
afterEach(() => {
  if (zone === undefined) delete process.env.TZ;
  else process.env.TZ = zone;
});

describe("a cycle", () => {
  it.each([
    ["2026-04-15T14:32:11Z", "2026-05-01T20:14:22Z", "2026-04-15T14:32:11.000Z", "2026-05-15T14:32:11.000Z"],
    // The 31st has the last day of shorter months, and comes back.
    ["2026-01-31T10:00:00Z", "2026-02-28T09:59:59Z", "2026-01-31T10:00:00.000Z", "2026-02-28T10:00:00.000Z"],
    ["2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z", "2026-02-28T10:00:00.000Z", "2026-03-31T10:00:00.000Z"],
    ["2026-01-31T10:00:00Z", "2026-04-01T00:00:00Z", "2026-03-31T10:00:00.000Z", "2026-04-30T10:00:00.000Z"],
    ["2028-01-30T00:00:00Z", "2028-02-29T00:00:00Z", "2028-02-29T00:00:00.000Z", "2028-03-30T00:00:00.000Z"],
    ["2028-02-29T12:00:00Z", "2029-02-28T12:00:00Z", "2029-02-28T12:00:00.000Z", "2029-03-29T12:00:00.000Z"],
    // 2100 is no leap year.
    ["2096-02-29T00:00:00Z", "2100-02-28T00:00:00Z", "2100-02-28T00:00:00.000Z", "2100-03-29T00:00:00.000Z"],
    ["2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", "2026-12-31T23:59:59.000Z", "2027-01-31T23:59:59.000Z"],
  ])("of a signup at %s, seen at %s", (anchor, now, start, end) => {
    const cycle = cycleAt(at(anchor), at(now));
    expect([text(cycle.start), text(cycle.end)]).toEqual([start, end]);
  });

  it("holds every instant once: the next begins where this ends", () => {
    fc.assert(
      fc.property(anchors, laters, (anchor, later) => {
        const now = new Date(anchor.getTime() + later);
        const cycle = cycleAt(anchor, now);
        expect(cycle.start <= now && now < cycle.end).toBe(true);
        expect(cycleAt(anchor, cycle.end).start).toEqual(cycle.end);
        expect(cycleAt(anchor, new Date(cycle.end.getTime() - 1))).toEqual(cycle);
        expect(cycleAt(anchor, cycle.start)).toEqual(cycle);
      }),
    );
  });

  it("begins on the day of the signup, or on the last of a month that has none, and at its time", () => {
    fc.assert(
      fc.property(anchors, fc.integer({ min: 0, max: 600 }), (anchor, months) => {
        const boundary = monthsAfter(anchor, months);
        const next = new Date(boundary.getTime() + DAY_MS);
        const last = next.getUTCMonth() !== boundary.getUTCMonth();
        const same = boundary.getUTCDate() === anchor.getUTCDate();
        expect(same || (last && boundary.getUTCDate() < anchor.getUTCDate())).toBe(true);
        expect(boundary.getTime() % DAY_MS).toBe(anchor.getTime() % DAY_MS);
        expect(boundary.getUTCMonth()).toBe((anchor.getUTCMonth() + months) % 12);
        const length = monthsAfter(anchor, months + 1).getTime() - boundary.getTime();
        expect([28, 29, 30, 31]).toContain(length / DAY_MS);
      }),
    );
  });

  it("is the same wherever this runs, summer time or not", () => {
    const zones = ["UTC", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe", "Asia/Kathmandu"];
    fc.assert(
      fc.property(anchors, laters, (anchor, later) => {
        const now = new Date(anchor.getTime() + later);
        const all = zones.map((name) => {
          process.env.TZ = name;
          return JSON.stringify([cycleAt(anchor, now), daysOf(cycleAt(anchor, now), now)]);
        });
        expect(new Set(all).size).toBe(1);
      }),
      { numRuns: 30 },
    );
  });

  it("of a clock that was set back is an earlier one, and never one before the first", () => {
    fc.assert(
      fc.property(anchors, laters, laters, (anchor, later, back) => {
        const now = new Date(anchor.getTime() + later);
        const before = cycleAt(anchor, new Date(now.getTime() - back));
        expect(before.start <= cycleAt(anchor, now).start).toBe(true);
        expect(before.start >= anchor).toBe(true);
      }),
    );
  });
});

describe("the days of a cycle", () => {
  it("are of UTC, without a gap, and end with the one that it is", () => {
    fc.assert(
      fc.property(anchors, laters, (anchor, later) => {
        const now = new Date(anchor.getTime() + later);
        const cycle = cycleAt(anchor, now);
        const days = daysOf(cycle, now);
        expect(days[0]!.start).toEqual(cycle.start);
        for (const [index, day] of days.entries()) {
          expect(day.start < day.end).toBe(true);
          if (index > 0) {
            expect(day.start).toEqual(days[index - 1]!.end);
            expect(day.start.getTime() % DAY_MS).toBe(0);
          }
        }
        const last = days.at(-1)!;
        expect(last.start <= now && now < last.end && last.end <= cycle.end).toBe(true);
        expect(days.length).toBeLessThanOrEqual(32);
      }),
    );
  });
});
