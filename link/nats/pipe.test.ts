// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { Pipe } from "./pipe.ts";

function ends(messageMax = 1024 * 1024) {
  const sent: Uint8Array[] = [];
  const near = new Pipe((message) => sent.push(message), messageMax);
  const far = new Pipe(() => {}, messageMax);
  const got: Buffer[] = [];
  const closed = new Promise<Error | null>((resolve) => {
    let fault: Error | null = null;
    far.on("data", (bytes: Buffer) => got.push(bytes));
    far.on("error", (error) => {
      fault = error;
    });
    far.on("close", () => resolve(fault));
  });
  return { near, far, sent, got, closed };
}

test("bytes arrive as they were written, in messages that the broker takes, and then the end", async () => {
  const { near, far, sent, got, closed } = ends(4096);
  const bytes = randomBytes(10_000);
  near.end(bytes);
  await new Promise((resolve) => near.once("finish", resolve));
  expect(Math.max(...sent.map(({ length }) => length))).toBeLessThanOrEqual(4096);
  for (const message of sent) far.arrived(message);
  expect(await closed).toBeNull();
  expect(Buffer.concat(got).equals(bytes)).toBe(true);
  far.arrived(sent[0]!);
});

test.each([
  ["a message missed", (sent: Uint8Array[]) => [sent[0]!, sent[2]!]],
  ["a message twice", (sent: Uint8Array[]) => [sent[0]!, sent[0]!]],
  ["two in the wrong order", (sent: Uint8Array[]) => [sent[1]!, sent[0]!]],
  ["a message without its counter", () => [Buffer.from([0, 0, 0])]],
])("%s breaks the pipe and is not papered over", async (_name, seen) => {
  const { near, far, sent, closed } = ends();
  for (const text of ["one", "two", "three"]) near.write(text);
  for (const message of seen(sent)) far.arrived(message);
  expect(await closed).toMatchObject({ code: "link.gap" });
});

test("an end is said once, also when the pipe is torn down, and a broker that is gone hurts nobody", async () => {
  const { near, sent } = ends();
  near.write("one");
  near.destroy();
  await new Promise((resolve) => near.once("close", resolve));
  near.destroy();
  expect(sent.map(({ length }) => length)).toEqual([7, 4]);
  const orphan = new Pipe(() => {
    throw new Error("closed connection");
  }, 4096);
  const faults: Error[] = [];
  orphan.on("error", (error) => faults.push(error));
  orphan.write("one");
  await new Promise((resolve) => orphan.once("close", resolve));
  expect(faults.map(({ message }) => message)).toEqual(["closed connection"]);
});

test("a broker that takes only crumbs is refused, not fed for ever", () => {
  expect(() => new Pipe(() => {}, 4)).toThrow(/4096/);
});
