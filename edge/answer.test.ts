// SPDX-License-Identifier: Apache-2.0
/** What a process says that a model has taken over. */
import { expect, it } from "vitest";
import { readAnswer } from "./answer.ts";

const found = (Chains: unknown[] = []) => ({
  ...{ Pipeline: "p", Name: "n", Chains },
  Detections: [{ Class: "Cat", Score: 0.5, Box: [1, 2, 3, 4] }],
});
const ran = (list: unknown) => JSON.stringify({ kind: "ran", tookMs: 3, eachMs: [3], found: list });

it("takes an answer as it is meant, and nothing that stands beside it", () => {
  expect(readAnswer('{"kind":"loaded","more":1}')).toEqual({ kind: "loaded" });
  const extra = { ...found([found()]), key: "x" };
  expect(readAnswer(ran([extra]))).toEqual({
    ...{ kind: "ran", tookMs: 3, eachMs: [3], found: [found([found()])] },
  });
});

it.each([
  ["no JSON", "{"],
  ["null", "null"],
  ["another kind", '{"kind":"wish"}'],
  ["no list", ran({})],
  ["a list of numbers", ran([1])],
  ["a class that is no text", ran([{ ...found(), Detections: [{ Class: {}, Score: 1, Box: [] }] }])],
  ["no time", '{"kind":"ran","eachMs":[],"found":[]}'],
])("takes %s for no answer", (_what, line) => {
  expect(readAnswer(line)).toBeNull();
});

it("takes what is nested without end for no answer, and ends", () => {
  let deep: unknown[] = [];
  for (let n = 0; n < 1000; n++) deep = [found(deep)];
  expect(readAnswer(ran(deep))).toBeNull();
});

it("lets no control character of a message reach a terminal", () => {
  const line = JSON.stringify({ kind: "failed", message: `\u001b[2J${"x".repeat(10_000)}`, devices: [] });
  const said = readAnswer(line) as { message: string };
  expect(said.message).toMatch(/^ \[2Jx+$/);
  expect(said.message.length).toBeLessThanOrEqual(500);
});
