// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ServerEvent } from "./call.ts";
import { type Followed, followEvents } from "./event-stream.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
afterEach(() => void vi.useRealTimers());

interface Row {
  seq: number;
  last?: true;
}

/** Rows that can be added while they are followed. */
class Feed implements Followed<Row> {
  readonly rows: Row[] = [];
  over = false;
  #wake = () => {};

  add(row: Row): void {
    this.rows.push(row);
    this.#wake();
  }

  async read(seq: number, limit: number): Promise<Row[]> {
    return this.rows.filter((row) => row.seq > seq).slice(0, limit);
  }

  more(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, timeoutMs);
    });
  }

  show = ({ seq }: Row) => ({ event: "row", data: { seq } });
  isLast = ({ last }: Row) => last === true;
  isOver = async () => this.over;
}

/** What was sent when, in seconds since the start. */
function follow(feed: Feed, from = 0) {
  const sent: [seconds: number, name: string, id: string | undefined][] = [];
  const start = performance.now();
  const aborted = new AbortController();
  const done = (async () => {
    for await (const { event, id } of followEvents(feed, from, aborted.signal) as AsyncIterable<ServerEvent>)
      sent.push([Math.round((performance.now() - start) / 1000), event, id]);
  })();
  return { sent, done, aborted };
}

test("while nothing happens a heartbeat comes every 15 seconds, without an id: who resumes has missed nothing", async () => {
  const feed = new Feed();
  const { sent, done } = follow(feed);
  await vi.advanceTimersByTimeAsync(46_000);
  feed.add({ seq: 7, last: true });
  await done;
  expect(sent).toEqual([
    [15, "heartbeat", undefined],
    [30, "heartbeat", undefined],
    [45, "heartbeat", undefined],
    [46, "row", "7"],
    [46, "end", "7"],
  ]);
});

test("never is nothing sent for longer than 15 seconds, however events fall", async () => {
  const feed = new Feed();
  const { sent, done } = follow(feed);
  for (let seq = 1; seq <= 8; seq++) {
    await vi.advanceTimersByTimeAsync(seq * 4_000);
    feed.add({ seq });
  }
  feed.add({ seq: 9, last: true });
  await done;
  const times = [0, ...sent.map(([seconds]) => seconds)];
  expect(Math.max(...times.slice(1).map((each, index) => each - times[index]!))).toBeLessThanOrEqual(15);
  expect(sent.filter(([, name]) => name === "row").map(([, , id]) => id)).toEqual(
    "12345678".split("").concat("9"),
  );
});

test("what happens is sent at once and not with the next heartbeat", async () => {
  const feed = new Feed();
  const { sent, done } = follow(feed);
  await vi.advanceTimersByTimeAsync(2_000);
  feed.add({ seq: 1, last: true });
  await done;
  expect(sent[0]).toEqual([2, "row", "1"]);
});

test("an end that has no row of its own ends the stream, after what came before it", async () => {
  const feed = new Feed();
  feed.add({ seq: 3 });
  feed.over = true;
  const { sent, done } = follow(feed, 1);
  await done;
  expect(sent.map(([, name, id]) => [name, id])).toEqual([
    ["row", "3"],
    ["end", "3"],
  ]);
});

test("a client that leaves ends it without another event", async () => {
  const feed = new Feed();
  const { sent, done, aborted } = follow(feed);
  await vi.advanceTimersByTimeAsync(1_000);
  aborted.abort();
  await vi.advanceTimersByTimeAsync(14_000);
  await done;
  expect(sent.filter(([, name]) => name !== "heartbeat")).toEqual([]);
});
