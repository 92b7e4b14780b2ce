// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { expect, it } from "vitest";
import { readAsks } from "./asks.ts";

const pictures = [randomBytes(70_000), Buffer.from("\n\n{}"), Buffer.alloc(0), randomBytes(3)];
const sent = Buffer.concat([
  Buffer.from('{"kind":"load","artifacts":[],"pipelines":[],"threads":1}\n'),
  ...pictures.flatMap((picture) => [
    Buffer.from(`{"kind":"run","pipelines":[],"pictureBytes":${picture.length}}\n`),
    picture,
  ]),
]);

it.each([1, 7, 57, 58, 59, 4096, sent.length])(
  "what is asked is read alike in chunks of %i bytes",
  async (size) => {
    const chunks = Array.from({ length: Math.ceil(sent.length / size) }, (_each, n) =>
      sent.subarray(n * size, (n + 1) * size),
    );
    const got: { kind: string; picture: Buffer }[] = [];
    for await (const { ask, picture } of readAsks(Readable.from(chunks)))
      got.push({ kind: ask.kind, picture });
    expect(got.map(({ kind }) => kind)).toEqual(["load", "run", "run", "run", "run"]);
    expect(got.slice(1).map(({ picture }, n) => picture.equals(pictures[n]!))).toEqual(Array(4).fill(true));
  },
);
