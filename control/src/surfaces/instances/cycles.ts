// SPDX-License-Identifier: Apache-2.0
/**
 * The months that a tenant is billed by. They begin at the instant of its signup and not with the calendar, in UTC alone, so that no
 * place's summer time makes one longer.
 *
 *  A. Every boundary is reckoned from the signup, never from the one before: who signed up on the 31st has the 28th in February and the
 *     31st again in March.
 *  B. A cycle has its start and lacks its end, so each instant is in one of them.
 *  C. Before the signup, where only a clock that was set back leads, it is the first one.
 */

export interface Window {
  start: Date;
  end: Date;
}

const MONTHS_A_YEAR = 12;
const DAY_MS = 86_400_000;

/** So many months after the anchor, on the same day and at the same time; in shorter months on their last day. */
export function monthsAfter(anchor: Date, months: number): Date {
  const month = anchor.getUTCFullYear() * MONTHS_A_YEAR + anchor.getUTCMonth() + months;
  const [year, inYear] = [Math.floor(month / MONTHS_A_YEAR), month % MONTHS_A_YEAR];
  const at = new Date(anchor);
  // The day first, or a month without it would be left again.
  at.setUTCFullYear(year, inYear, Math.min(anchor.getUTCDate(), daysIn(year, inYear)));
  return at;
}

/** Day 0 of a month is the last of the one before. */
const daysIn = (year: number, month: number): number => new Date(Date.UTC(year, month + 1, 0)).getUTCDate();

export function cycleAt(anchor: Date, now: Date): Window {
  const months =
    (now.getUTCFullYear() - anchor.getUTCFullYear()) * MONTHS_A_YEAR +
    now.getUTCMonth() -
    anchor.getUTCMonth();
  // This month's boundary may be still to come.
  const begun = monthsAfter(anchor, months) <= now ? months : months - 1;
  const index = Math.max(0, begun);
  return { start: monthsAfter(anchor, index), end: monthsAfter(anchor, index + 1) };
}

/** The days of UTC that have begun in it, in their order; the first and the last are cut where the window is. */
export function daysOf({ start, end }: Window, now: Date): Window[] {
  const days: Window[] = [];
  const until = Math.min(end.getTime(), now.getTime() + 1);
  for (let from = start.getTime(); from < until; ) {
    const next = Math.min((Math.floor(from / DAY_MS) + 1) * DAY_MS, end.getTime());
    days.push({ start: new Date(from), end: new Date(next) });
    from = next;
  }
  return days;
}
