// SPDX-License-Identifier: Apache-2.0
/** Wire times: whole seconds in UTC. Equal width makes their text order their time order. */

/** Truncated, never rounded up: a proof must not say that something ended later than it did. */
export function wireTime(instant: Date): string {
  const text = instant.toISOString();
  if (text.length !== 24) throw new RangeError("a wire time lies in the years 0 to 9999");
  return `${text.slice(0, 19)}Z`;
}

/** True when the text names a second that exists (no 30 February, no leap second). */
export function isWireTime(text: string): boolean {
  const millis = Date.parse(text);
  return !Number.isNaN(millis) && wireTime(new Date(millis)) === text;
}

/** The last of some wire times. */
export function latest(times: readonly string[]): string {
  return times.toSorted().at(-1) ?? "";
}
