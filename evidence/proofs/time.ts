// SPDX-License-Identifier: Apache-2.0
/** Wire times: whole seconds in UTC. Equal width makes their text order their time order. */

/** Truncated, never rounded up: a proof must not say that something ended later than it did. */
export function wireTime(instant: Date): string {
  const text = instant.toISOString();
  if (text.length !== 24) throw new RangeError("a wire time lies in the years 0 to 9999");
  return `${text.slice(0, 19)}Z`;
}

const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** True when the text names a second that exists (no 30 February, no leap second). */
export function isWireTime(text: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/.test(text)) return false;
  // By hand: a round trip through `Date` took a thirtieth of a whole verification.
  const at = (start: number, digits = 2) => Number(text.slice(start, start + digits));
  const year = at(0, 4);
  const month = at(5);
  const leap = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = (DAYS[month - 1] ?? 0) + (leap ? 1 : 0);
  const day = at(8);
  return day >= 1 && day <= days && at(11) <= 23 && at(14) <= 59 && at(17) <= 59;
}

/** The last of some wire times. */
export function latest(times: readonly string[]): string {
  return times.toSorted().at(-1) ?? "";
}
