// SPDX-License-Identifier: Apache-2.0
/**
 * Text of a document as text to be printed. Whoever chose a word in it may have chosen one that turns the line around, looks
 * like nothing, or stands for markup in what shows it: printed is what the fonts of both forms have, and everything else by its number.
 */

/** Printable ASCII, Latin-1 without its soft hyphen and no-break space, and a few marks of ours. */
const SHOWN = /^[\x20-\x7e\u00a1-\u00ac\u00ae-\u00ff\u2013\u2014\u2018\u2019\u201c\u201d]$/;

export function plain(text: string): string {
  let shown = "";
  for (const each of text)
    shown += SHOWN.test(each) ? each : `\\u{${each.codePointAt(0)!.toString(16).toUpperCase()}}`;
  return shown;
}

export const count = (value: number | null): string =>
  value === null ? "not measured" : String(value).replace(/\B(?=(\d{3})+$)/g, ",");

export const bytes = (value: number | null): string =>
  value === null ? "size not measured" : `${count(value)} ${value === 1 ? "byte" : "bytes"}`;

export const yes = (value: boolean | null): string =>
  value === null ? "not measured" : value ? "yes" : "no";
