// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { Questions } from "./questions.ts";

test("two questions are under way, thirty-two wait in their order, and one more is refused in words", async () => {
  const questions = new Questions();
  const open: (() => void)[] = [];
  const ask = (signal?: AbortSignal) =>
    questions.run(() => new Promise<void>((resolve) => open.push(resolve)), signal);
  const asked = Array.from({ length: 33 }, () => ask());
  const own = new AbortController();
  const calledOff = expect(ask(own.signal)).rejects.toThrow("the reader left");
  await expect(ask()).rejects.toMatchObject({
    code: "host.too-many-streams",
    message: expect.stringMatching(/too much is asked/),
  });
  expect(open).toHaveLength(2);
  own.abort(new Error("the reader left"));
  await calledOff;
  // Its place among those that wait is free again, and not one under way.
  asked.push(ask());
  expect(open).toHaveLength(2);
  let done = 0;
  for (const each of asked) void each.then(() => (done += 1));
  for (let at = 0; at < asked.length; at++) {
    await expect.poll(() => open.length).toBe(Math.min(at + 2, asked.length));
    open[at]!();
    await asked[at];
  }
  expect(done).toBe(34);
  await questions.run(async () => {});
});
