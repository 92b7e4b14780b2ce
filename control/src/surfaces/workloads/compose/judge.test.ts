// SPDX-License-Identifier: Apache-2.0
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { type ComposeAsk, checkCompose } from "./check.ts";
import { type ComposeJudge, type JudgeOptions, openJudge } from "./judge.ts";

const judges: ComposeJudge[] = [];
const open = (options?: JudgeOptions) => {
  judges.push(openJudge(options));
  return judges.at(-1)!;
};
afterEach(async () => {
  for (const judge of judges.splice(0)) await judge.close();
});

const ask = (text: string): ComposeAsk => ({
  ...{ text, files: ["a.txt"], env: { A: "1" } },
  ...{ publicContainerName: "api", publicContainerPort: 80 },
});
const PLAIN = "services:\n  api:\n    image: caddy:2\n    command: echo $A";
/** Longer than what is read without a thread. */
const GOOD = ask(`# ${"x".repeat(3000)}\n${PLAIN}`);
/** The text that takes the parser longest for its length. */
const SLOW = ask("[".repeat(99_000));

test("says what the policy says", async () => {
  const judge = open();
  for (const each of [GOOD, ask("services:\n  api:\n    image: x\n    privileged: true"), ask("a: [")])
    expect(await judge.judge("a", each)).toEqual(checkCompose(each));
});

test("others are served while a text is read that takes long", async () => {
  const judge = open();
  await judge.judge("a", GOOD);
  let over = false;
  const verdict = judge.judge("a", SLOW).finally(() => {
    over = true;
  });
  let turns = 0;
  for (; !over; turns++) await turn();
  expect((await verdict).ok).toBe(false);
  // In the thread itself there would be one or two.
  expect(turns).toBeGreaterThan(100);
});

test("an account that sends many waits for itself, and nobody else does", async () => {
  const judge = open({ threads: 2 });
  const order: string[] = [];
  const many = Array.from({ length: 4 }, (_, n) =>
    judge.judge("many", SLOW).then(() => void order.push(`many ${n}`)),
  );
  const other = judge.judge("other", GOOD).then(() => void order.push("other"));
  await Promise.all([...many, other]);
  expect(order.indexOf("other")).toBeLessThan(2);
  expect(order.filter((each) => each !== "other")).toEqual(["many 0", "many 1", "many 2", "many 3"]);
});

test("a text that takes too long is refused, and the next one is read", async () => {
  const judge = open({ threads: 1, timeLimitMs: 1 });
  expect(await judge.judge("a", SLOW)).toMatchObject({
    ok: false,
    violations: [{ message: expect.stringMatching(/takes longer/) }],
  });
  // In one millisecond no thread begins; that there is an answer is what counts.
  expect(await judge.judge("a", GOOD)).toHaveProperty("ok");
  expect(await open({ threads: 1 }).judge("a", GOOD)).toMatchObject({ ok: true });
});

test("who comes when too many wait is told to come later, an account before all", async () => {
  const judge = open({ threads: 1, waitingMax: 3, waitingPerAccountMax: 2 });
  const first = judge.judge("a", SLOW);
  const waiting = [judge.judge("a", GOOD), judge.judge("a", GOOD)];
  await expect(judge.judge("a", GOOD)).rejects.toMatchObject({ code: "platform.overloaded" });
  waiting.push(judge.judge("b", GOOD));
  await expect(judge.judge("c", GOOD)).rejects.toMatchObject({ code: "platform.overloaded" });
  expect((await Promise.all([first, ...waiting])).map(({ ok }) => ok)).toEqual([false, true, true, true]);
});

test("at the end of the process nobody is left waiting", async () => {
  const judge = open({ threads: 1 });
  const all = [judge.judge("a", SLOW), judge.judge("a", GOOD)].map((each) =>
    each.then(
      () => "answered",
      ({ code }) => code,
    ),
  );
  await judge.close();
  expect(await Promise.all(all)).toEqual(["platform.overloaded", "platform.overloaded"]);
});

test("a short and plain text is read at once, and one that only looks short is not", async () => {
  const judge = open({ threads: 0 });
  expect((await judge.judge("a", ask(PLAIN))).ok).toBe(true);
  const waits = [
    ask("[".repeat(100)),
    ask(`a: ${"&a {".repeat(40)}`),
    ask("a: b\n".repeat(500)),
    { ...ask(PLAIN), env: { A: "x".repeat(600) } },
    { ...ask(PLAIN), files: Array.from({ length: 33 }, (_, n) => `${n}.txt`) },
  ];
  for (const [n, each] of waits.entries()) {
    const answer = judge.judge(`b${n}`, each);
    answer.catch(() => {});
    expect(await Promise.race([answer, turn("waits")])).toBe("waits");
  }
});
