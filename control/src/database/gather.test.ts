// SPDX-License-Identifier: Apache-2.0
import { setImmediate as turn } from "node:timers/promises";
import { expect, it } from "vitest";
import { gather, gatherFor } from "./gather.ts";

/** A load that waits until it is told. */
function held() {
  const loads: { asks: number[]; answer(values: number[]): void; fail(error: Error): void }[] = [];
  const load = (asks: number[]) =>
    new Promise<number[]>((answer, fail) => {
      loads.push({ asks, answer, fail });
    });
  return { loads, load };
}

it("asks what comes at once in one load, and gives everyone their own answer", async () => {
  const { loads, load } = held();
  const ask = gather(load);
  const all = Promise.all([ask(1), ask(2), ask(3)]);
  await turn();
  expect(loads.map(({ asks }) => asks)).toEqual([[1, 2, 3]]);
  loads[0]!.answer([10, 20, 30]);
  expect(await all).toEqual([10, 20, 30]);
});

it("never answers a question from a load that began before it was put", async () => {
  const { loads, load } = held();
  const ask = gather(load);
  const early = ask(1);
  await turn();
  const late = ask(1);
  await turn();
  expect(loads.length).toBe(1);
  loads[0]!.answer([1]);
  expect(await early).toBe(1);
  await turn();
  expect(loads.length).toBe(2);
  loads[1]!.answer([2]);
  expect(await late).toBe(2);
});

it("takes at most so many at once, and the rest in the next load", async () => {
  const { loads, load } = held();
  const ask = gather(load, { most: 2, atOnce: 2 });
  const all = Promise.all([1, 2, 3, 4, 5].map(ask));
  await turn();
  await turn();
  expect(loads.map(({ asks }) => asks)).toEqual([
    [1, 2],
    [3, 4],
  ]);
  loads[0]!.answer([1, 2]);
  loads[1]!.answer([3, 4]);
  await turn();
  await turn();
  loads[2]!.answer([5]);
  expect(await all).toEqual([1, 2, 3, 4, 5]);
});

it("goes on after a load that failed, which fails only those it was for", async () => {
  const { loads, load } = held();
  const ask = gather(load);
  const lost = [ask(1), ask(2)].map((each) => each.catch((error: Error) => error.message));
  await turn();
  const after = ask(3);
  loads[0]!.fail(new Error("cut off"));
  expect(await Promise.all(lost)).toEqual(["cut off", "cut off"]);
  await turn();
  loads[1]!.answer([3]);
  expect(await after).toBe(3);
});

it("fails, and does not mix up, when a load answers another number than it was asked", async () => {
  const ask = gather(async (asks: number[]) => asks.slice(1));
  await expect(ask(1)).rejects.toThrow("another number");
});

it("asks of each handle what was asked of it", async () => {
  const ask = gatherFor(async (handle: { name: string }, asks: number[]) =>
    asks.map((each) => `${handle.name}${each}`),
  );
  const [a, b] = [{ name: "a" }, { name: "b" }];
  expect(await Promise.all([ask(a, 1), ask(b, 2), ask(a, 3)])).toEqual(["a1", "b2", "a3"]);
});

it("answers who is put off to a later load from that one", async () => {
  const loads: number[][] = [];
  const ask: (number: number) => Promise<number> = gather((asks: number[]) => {
    loads.push(asks);
    return Promise.resolve(asks.map((each, at) => (at === 0 ? each * 10 : ask(each))));
  });
  expect(await Promise.all([ask(1), ask(2), ask(3)])).toEqual([10, 20, 30]);
  expect(loads).toEqual([[1, 2, 3], [2, 3], [3]]);
});
