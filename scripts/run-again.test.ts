// SPDX-License-Identifier: Apache-2.0
import { expect, it } from "vitest";
import { runAgain, type Tally } from "./run-again.ts";

const tally = (failed: number, failures: Tally["failures"], passed = 10): Tally => ({
  ...{ passed, failed, skipped: [], failures },
});
const FAILURES = new Map([
  ["a.test.ts", ["one", "two"]],
  ["b.test.ts", ["three"]],
]);

it("what passes alone counts as passed and is named, and what fails again has failed", async () => {
  const again: string[] = [];
  const run = async (file: string) => (file === "a.test.ts" ? tally(0, new Map(), 5) : tally(1, new Map()));
  expect(await runAgain(tally(3, FAILURES), run, again)).toMatchObject({ passed: 12, failed: 1 });
  expect(again).toEqual(["a.test.ts > one", "a.test.ts > two"]);
});

it("a file of which nothing ran the second time has not passed", async () => {
  const again: string[] = [];
  expect(await runAgain(tally(3, FAILURES), async () => tally(0, new Map(), 0), again)).toMatchObject({
    passed: 10,
    failed: 3,
  });
  expect(again).toEqual([]);
});

it("four files at once, and what is no test's failure, are not tried again", async () => {
  const never = () => Promise.reject(new Error("was run again"));
  const four = new Map(["a", "b", "c", "d"].map((file) => [file, ["one"]]));
  expect(await runAgain(tally(4, four), never, [])).toMatchObject({ failed: 4 });
  expect(await runAgain(tally(1, null), never, [])).toMatchObject({ failed: 1 });
});
