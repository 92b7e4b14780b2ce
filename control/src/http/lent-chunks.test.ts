// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from "node:crypto";
import { PassThrough, Readable } from "node:stream";
import { expect, it } from "vitest";
import { lentChunks } from "./lent-chunks.ts";

/** Each with memory of its own, as those of a socket have. */
const ownChunk = (size: number): Buffer => {
  const chunk = Buffer.allocUnsafeSlow(size);
  randomBytes(size).copy(chunk);
  return chunk;
};

it("gives every byte in its order, and frees a chunk when the next is asked for", async () => {
  const sent = Array.from({ length: 40 }, (_each, n) => ownChunk(n === 7 ? 1 : 65_536));
  const whole = Buffer.concat(sent);
  const got: Buffer[] = [];
  const seen: Uint8Array[] = [];
  for await (const chunk of lentChunks(Readable.from(sent, { objectMode: false }))) {
    expect(seen.every(({ byteLength }) => byteLength === 0)).toBe(true);
    got.push(Buffer.from(chunk));
    seen.push(chunk);
  }
  expect(Buffer.concat(got).equals(whole)).toBe(true);
  expect([seen.length, seen.at(-1)!.byteLength]).toEqual([40, 0]);
});

it("leaves memory alone that a chunk shares with what comes after it", async () => {
  const both = ownChunk(100);
  const parts = [both.subarray(0, 60), both.subarray(60)];
  const got: string[] = [];
  for await (const chunk of lentChunks(Readable.from(parts, { objectMode: false })))
    got.push(Buffer.from(chunk).toString("hex"));
  expect(got.join("")).toBe(both.toString("hex"));
});

it("reads no further ahead than it may", async () => {
  let made = 0;
  async function* endless() {
    for (;;) {
      made++;
      yield ownChunk(65_536);
    }
  }
  const source = Readable.from(endless(), { objectMode: false, highWaterMark: 65_536 });
  const chunks = lentChunks(source);
  for (let n = 0; n < 5; n++) await chunks.next();
  // Time for whoever would not stop.
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(made).toBeLessThan(30);
  await chunks.return(undefined);
  expect(source.destroyed).toBe(true);
});

it("gives what came, then says that it broke off", async () => {
  const stream = new PassThrough();
  stream.write(ownChunk(10));
  const chunks = lentChunks(stream);
  expect((await chunks.next()).value?.byteLength).toBe(10);
  stream.destroy(new Error("the line broke"));
  await expect(chunks.next()).rejects.toThrow("the line broke");
});

it.each([
  ["that broke off before it was read", () => new PassThrough().destroy(), /premature/i],
  [
    "that closes without an end",
    () => {
      const stream = new PassThrough();
      setImmediate(() => stream.destroy());
      return stream;
    },
    /premature/i,
  ],
])("does not wait for ever for a stream %s", async (_what, open, message) => {
  const stream = open();
  await expect(lentChunks(stream).next()).rejects.toThrow(message);
});

it("of a stream without a byte is nothing", async () => {
  expect(await lentChunks(Readable.from([])).next()).toEqual({ done: true, value: undefined });
});
