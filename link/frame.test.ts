// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeFrame, type Frame, FrameDecoder, FrameFault } from "./frame.ts";
import { FRAME_MAX } from "./port.ts";

function decodeIn(pieces: Buffer[]): Frame[] {
  const decoder = new FrameDecoder();
  return pieces.flatMap((piece) => [...decoder.push(piece)]);
}

function cutInto(bytes: Buffer, cuts: number[]): Buffer[] {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
}

test("frames come out as they went in, wherever the stream is cut", () => {
  const one = fc.tuple(fc.dictionary(fc.string(), fc.jsonValue()), fc.uint8Array({ maxLength: 300 }));
  fc.assert(
    fc.property(fc.array(one, { maxLength: 6 }), fc.array(fc.nat(), { maxLength: 8 }), (frames, cuts) => {
      const sent = frames.map(([members, payload]) => ({ header: { ...members, t: "x" }, payload }));
      const stream = Buffer.concat(sent.map(({ header, payload }) => encodeFrame(header, payload)));
      const got = decodeIn(cutInto(stream, cuts));
      expect(got.length).toBe(sent.length);
      got.forEach((frame, index) => {
        expect(JSON.stringify(frame.header)).toBe(JSON.stringify(sent[index]!.header));
        expect(Buffer.compare(frame.payload, sent[index]!.payload)).toBe(0);
      });
    }),
  );
});

test("any bytes give frames or a FrameFault, nothing else", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 20 }), (pieces) => {
      try {
        decodeIn(pieces.map((piece) => Buffer.from(piece)));
      } catch (error) {
        expect(error).toBeInstanceOf(FrameFault);
      }
    }),
  );
});

test("a changed byte in a good stream gives frames or a FrameFault, nothing else", () => {
  const good = Buffer.concat([encodeFrame({ t: "a" }), encodeFrame({ t: "data" }, Buffer.alloc(20))]);
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), (at, byte) => {
      const bad = Buffer.from(good);
      bad[at] = byte;
      try {
        decodeIn([bad]);
      } catch (error) {
        expect(error).toBeInstanceOf(FrameFault);
      }
    }),
  );
});

test("an oversized frame is refused by its length, before its bytes come", () => {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(FRAME_MAX + 1);
  const decoder = new FrameDecoder();
  expect(() => [...decoder.push(head)]).toThrow(FrameFault);
  // There is no way back into a broken stream.
  expect(() => [...decoder.push(encodeFrame({ t: "a" }))]).toThrow(FrameFault);
  expect(() => encodeFrame({ t: "a" }, Buffer.alloc(FRAME_MAX))).toThrow(FrameFault);
});

test("a header of half a million brackets is no stack overflow", () => {
  const json = Buffer.from(`{"t":"a","b":${"[".repeat(250_000)}${"]".repeat(250_000)}}`);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(4 + json.length, 0);
  head.writeUInt32BE(json.length, 4);
  try {
    decodeIn([Buffer.concat([head, json])]);
  } catch (error) {
    expect(error).toBeInstanceOf(FrameFault);
  }
});
