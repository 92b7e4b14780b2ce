// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { showProgress } from "./progress.ts";

function shown(terminal: { isTTY?: boolean; columns?: number }) {
  const written: string[] = [];
  const progress = showProgress({ ...terminal, write: (text) => written.push(text) });
  const step = (number: number, part: number | null) =>
    progress.onStep({ number, of: 2, words: "packages", part });
  step(1, null);
  for (let part = 0; part <= 100; part++) step(1, part / 100);
  step(2, null);
  progress.end();
  return written;
}

test("where output is kept, a step is a few whole lines and has no characters of a terminal", () => {
  const written = shown({});
  expect(written).toEqual([
    ...["[1/2] packages\n", "[1/2] packages 25 %\n", "[1/2] packages 50 %\n", "[1/2] packages 75 %\n"],
    ...["[1/2] packages 100 %\n", "[2/2] packages\n"],
  ]);
});

test("on a terminal one line is drawn over itself, is never wider than it, and is taken away in the end", () => {
  const written = shown({ isTTY: true, columns: 40 });
  expect(written.every((text) => text.startsWith("\r\x1b[K") && !text.includes("\n"))).toBe(true);
  expect(Math.max(...written.map((text) => text.length))).toBeLessThan(40 + "\r\x1b[K".length);
  expect(written.at(-1)).toBe("\r\x1b[K");
});
