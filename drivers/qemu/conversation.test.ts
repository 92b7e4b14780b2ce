// SPDX-License-Identifier: Apache-2.0

import { PassThrough } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { expect, test } from "vitest";
import { readConsole } from "./conversation.ts";

test("a console of very short lines is taken in few steps, and stands still beyond what a second has", async () => {
  const serial = new PassThrough();
  const taken: string[][] = [];
  readConsole(serial, (lines) => taken.push(lines));
  const all = Array.from({ length: 1_200 }, (_, at) => `${at % 10}`);
  serial.write(`${all.join("\n")}\n`);
  await expect.poll(() => taken.length).toBe(1);
  expect(taken[0]!.length).toBeLessThanOrEqual(512);
  expect(serial.isPaused()).toBe(true);
  await expect.poll(() => taken.flat().length, { timeout: 20_000 }).toBe(all.length);
  expect(taken.flat()).toEqual(all);
  expect(taken.length).toBeLessThanOrEqual(4);
  serial.write("last\n");
  await expect.poll(() => taken.flat().at(-1), { timeout: 20_000 }).toBe("last");
});

test("what waits when a console is closed is not written any more", async () => {
  const serial = new PassThrough();
  const taken: string[][] = [];
  readConsole(serial, (lines) => taken.push(lines));
  serial.write("a\n".repeat(1_000));
  await expect.poll(() => taken.length).toBe(1);
  serial.destroy();
  await pause(1_500);
  expect(taken).toHaveLength(1);
});
