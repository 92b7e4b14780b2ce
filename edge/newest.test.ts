// SPDX-License-Identifier: Apache-2.0
import { expect, it } from "vitest";
import { newest } from "./newest.ts";

/** A source that goes on by itself, as a camera does: what is pushed is there, whoever takes it. */
function camera() {
  const there: number[] = [];
  let over = false;
  let wake = () => {};
  async function* pictures() {
    for (;;) {
      while (there.length > 0) yield there.shift()!;
      if (over) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
  return {
    pictures: pictures(),
    push: (...more: number[]) => {
      there.push(...more);
      wake();
    },
    end: () => {
      over = true;
      wake();
    },
  };
}

const turns = async (ready: () => boolean) => {
  for (let at = 0; at < 1000 && !ready(); at++) await new Promise((resolve) => setImmediate(resolve));
  expect(ready()).toBe(true);
};

it("of a camera that does not wait the oldest are given up and counted, and the newest are looked at", async () => {
  const { pictures, push, end } = camera();
  let dropped = 0;
  const seen = newest(pictures, { waitingMax: 2, onDrop: () => dropped++ });
  push(1);
  expect((await seen.next()).value).toEqual({ one: 1, waiting: 0 });
  // While that one is looked at:
  push(2, 3, 4, 5, 6);
  await turns(() => dropped === 3);
  expect((await seen.next()).value).toEqual({ one: 5, waiting: 1 });
  expect((await seen.next()).value).toEqual({ one: 6, waiting: 0 });
  push(7);
  end();
  expect((await seen.next()).value).toMatchObject({ one: 7 });
  expect([await seen.next(), dropped]).toEqual([{ done: true, value: undefined }, 3]);
});

it("a folder waits, and nothing of it is given up", async () => {
  const { pictures, push, end } = camera();
  push(...Array.from({ length: 100 }, (_, at) => at));
  end();
  const all: number[] = [];
  const onDrop = () => expect.fail("gave one up");
  for await (const { one, waiting } of newest(pictures, { waitingMax: null, onDrop })) {
    expect(waiting).toBe(0);
    await new Promise((resolve) => setImmediate(resolve));
    all.push(one);
  }
  expect(all).toEqual(Array.from({ length: 100 }, (_, at) => at));
});

it("what broke the camera is said after what was there before it broke", async () => {
  async function* broken() {
    yield 1;
    throw new Error("the cable");
  }
  const seen = newest(broken(), { waitingMax: 2, onDrop: () => {} });
  expect((await seen.next()).value).toMatchObject({ one: 1 });
  await expect(seen.next()).rejects.toThrow("the cable");
});

it("who looks no more lets the source go with its next picture", async () => {
  let letGo = false;
  const { pictures, push } = camera();
  async function* watched() {
    try {
      yield* pictures;
    } finally {
      letGo = true;
    }
  }
  push(1);
  for await (const _ of newest(watched(), { waitingMax: 2, onDrop: () => {} })) break;
  push(2);
  await turns(() => letGo);
});
