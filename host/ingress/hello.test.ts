// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { expect, test } from "vitest";
import { HELLO_BYTES_MAX, HelloReader } from "./hello.ts";
import { firstWords } from "./testing.ts";

/** The same message in records of so many bytes. */
function inRecords(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5);
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size);
    parts.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(parts);
}

function read(bytes: Buffer, step = bytes.length): string | null | undefined {
  const reader = new HelloReader();
  for (let at = 0; at < bytes.length; at += step) {
    const name = reader.push(bytes.subarray(at, at + step));
    if (name !== undefined) return name;
  }
  return undefined;
}

/** The extension of a server's name, as it is in a hello. */
function extension(...lists: Buffer[]): Buffer {
  const list = Buffer.concat(lists);
  const head = Buffer.alloc(6);
  head.writeUInt16BE(0, 0);
  head.writeUInt16BE(list.length + 2, 2);
  head.writeUInt16BE(list.length, 4);
  return Buffer.concat([head, list]);
}

function name(text: string, kind = 0): Buffer {
  const head = Buffer.from([kind, text.length >> 8, text.length & 255]);
  return Buffer.concat([head, Buffer.from(text, "latin1")]);
}

function helloWith(...extensions: Buffer[]): Buffer {
  const all = Buffer.concat(extensions);
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32),
    Buffer.from([0, 0, 2, 0x13, 0x01, 1, 0, all.length >> 8, all.length & 255]),
    all,
  ]);
  const message = Buffer.concat([Buffer.from([1, 0, body.length >> 8, body.length & 255]), body]);
  return Buffer.concat([Buffer.from([22, 3, 1, message.length >> 8, message.length & 255]), message]);
}

test.each(["TLSv1.2", "TLSv1.3"] as const)(
  "the name of a %s client is read, however it comes",
  async (version) => {
    const hello = await firstWords("a.workloads.test", { minVersion: version, maxVersion: version });
    for (const bytes of [hello, inRecords(hello, 1), inRecords(hello, 7), inRecords(hello, 100)])
      for (const step of [1, 3, 64, bytes.length]) expect(read(bytes, step)).toBe("a.workloads.test");
  },
);

test("until the hello is whole nothing is decided, and all of it is kept", async () => {
  const hello = await firstWords("a.workloads.test");
  for (let length = 0; length < hello.length; length++)
    expect([length, read(hello.subarray(0, length))]).toEqual([length, undefined]);
  const reader = new HelloReader();
  const more = Buffer.concat([hello, Buffer.from("and what follows")]);
  for (const byte of more.subarray(0, -3)) reader.push(Buffer.from([byte]));
  reader.push(more.subarray(-3));
  expect(reader.heard).toEqual(more);
});

test.each([
  ["no name", helloWith()],
  ["another extension alone", helloWith(Buffer.from([0, 23, 0, 0]))],
  ["two names", helloWith(extension(name("a.test"), name("b.test")))],
  ["the extension twice", helloWith(extension(name("a.test")), extension(name("b.test")))],
  ["a name of another kind", helloWith(extension(name("a.test", 1)))],
  ["an empty list", helloWith(extension())],
  ["an extension that ends past the message", helloWith(Buffer.from([0, 0, 0, 9, 0, 7]))],
  ["another message", Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0])],
  ["an alert", Buffer.from([21, 3, 1, 0, 2, 2, 80])],
  ["an empty record", Buffer.from([22, 3, 1, 0, 0])],
  ["a request", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ["a message over the limit", Buffer.from([22, 3, 1, 0, 4, 1, 1, 0, 0])],
])("%s is nobody's name", (_what, bytes) => {
  expect(read(bytes, 1)).toBeNull();
});

test("a well-made hello with one name is read", () => {
  expect(read(helloWith(Buffer.from([0, 23, 0, 0]), extension(name("a.test"))))).toBe("a.test");
});

test("a hello that does not end is given up at its limit", () => {
  const reader = new HelloReader();
  const message = Buffer.alloc(HELLO_BYTES_MAX);
  message.set([1, 0, HELLO_BYTES_MAX >> 8, 0]);
  let taken = 0;
  let said: string | null | undefined;
  for (const byte of inRecords(Buffer.concat([Buffer.alloc(5), message]), 1)) {
    said = reader.push(Buffer.from([byte]));
    if (said !== undefined) break;
    taken += 1;
  }
  expect(said).toBeNull();
  expect(taken).toBeLessThanOrEqual(2 * HELLO_BYTES_MAX);
});

test("no bytes make the reader throw, or say a name that is not in them", async () => {
  const hello = await firstWords("a.workloads.test");
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(hello.length - 1), fc.nat(255)), { maxLength: 8 }),
      fc.integer({ min: 1, max: 200 }),
      (changes, step) => {
        const bytes = Buffer.from(hello);
        for (const [at, byte] of changes) bytes[at] = byte;
        const said = read(bytes, step);
        if (typeof said === "string") expect(bytes.includes(Buffer.from(said, "latin1"))).toBe(true);
      },
    ),
    { numRuns: 500 },
  );
});
