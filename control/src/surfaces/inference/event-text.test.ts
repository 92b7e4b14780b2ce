// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { eventsOf, passEvent, type Seen } from "./event-text.ts";

const chunk = (more: object, text = "ö🌍") =>
  `data: ${JSON.stringify({ id: "1", choices: [{ delta: { content: text } }], ...more })}\n\n`;
const USAGE = { prompt_tokens: 11, completion_tokens: 2, total_tokens: 13 };
const LAST = `data: ${JSON.stringify({ id: "1", choices: [], usage: USAGE })}\n\n`;
const DONE = "data: [DONE]\n\n";

async function* cutAt(bytes: Buffer, cuts: readonly number[]): AsyncGenerator<Uint8Array> {
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (cut > from) yield bytes.subarray(from, cut);
    from = Math.max(from, cut);
  }
}

async function passed(
  text: string,
  cuts: readonly number[],
  wanted: boolean,
): Promise<{ text: string; seen: Seen }> {
  const seen: Seen = { usage: null, output: 0, done: false };
  let out = "";
  for await (const event of eventsOf(cutAt(Buffer.from(text), cuts)))
    out += passEvent(event, seen, wanted) ?? "";
  return { text: out, seen };
}

const stream = `: keep-alive\n\n${chunk({ usage: null })}${chunk({ usage: null }, "b")}${LAST}${DONE}`;

describe("a stream of events", () => {
  it("comes out the same wherever its bytes were cut, with lines that end in either way", async () => {
    for (const text of [stream, stream.replaceAll("\n", "\r\n")]) {
      const bytes = Buffer.byteLength(text);
      const each = Array.from({ length: bytes }, (_, at) => at);
      expect((await passed(text, each, true)).text).toBe(text);
      const at = fc.array(fc.integer({ min: 0, max: bytes }), { maxLength: 8 });
      await fc.assert(
        fc.asyncProperty(at, async (cuts) => {
          const got = await passed(
            text,
            cuts.sort((a, b) => a - b),
            true,
          );
          expect(got).toEqual({ text, seen: { usage: { input: 11, output: 2 }, output: 3, done: true } });
        }),
      );
    }
  });

  it("has nothing of a count that its client did not ask for, and is counted all the same", async () => {
    const { text, seen } = await passed(stream, [], false);
    expect(text).toBe(`: keep-alive\n\n${chunk({})}${chunk({}, "b")}${DONE}`);
    expect(seen.usage).toEqual({ input: 11, output: 2 });
  });

  it("whose count stands in its last choice keeps the choice", async () => {
    const { text, seen } = await passed(chunk({ usage: USAGE }) + DONE, [], false);
    expect([text, seen.usage]).toEqual([chunk({}) + DONE, { input: 11, output: 2 }]);
  });

  it("of something else passes as it is, and an absurd count is none", async () => {
    const odd = `event: x\ndata: no json\n\ndata: 7\n\n${chunk({ usage: { prompt_tokens: -1, completion_tokens: 1e99 } })}`;
    const { text, seen } = await passed(odd, [], true);
    expect([text, seen.usage, seen.done]).toEqual([odd, null, false]);
  });

  it("whose event never ends is given up", async () => {
    const endless = async function* () {
      for (;;) yield Buffer.alloc(1024 * 1024, "x");
    };
    const all = async () => {
      for await (const _ of eventsOf(endless()));
    };
    await expect(all()).rejects.toThrow(/too large/);
  });
});
