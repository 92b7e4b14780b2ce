// SPDX-License-Identifier: Apache-2.0
/** What a runner is asked: a line of JSON, and behind it the bytes of the picture that it speaks of. The agent is the one who asks, and is believed. */
import type { Readable } from "node:stream";
import type { RunnerAsk } from "./runner.ts";

const NEWLINE = 10;

export async function* readAsks(stream: Readable): AsyncGenerator<{ ask: RunnerAsk; picture: Buffer }> {
  let parts: Buffer[] = [];
  let size = 0;
  let ask: RunnerAsk | null = null;
  /** The first bytes of what came; the rest is for later. */
  const take = (count: number): Buffer => {
    const whole = Buffer.concat(parts);
    parts = [whole.subarray(count)];
    size -= count;
    return whole.subarray(0, count);
  };
  const lineLength = () => {
    let before = 0;
    for (const part of parts) {
      const at = part.indexOf(NEWLINE);
      if (at >= 0) return before + at;
      before += part.length;
    }
    return -1;
  };
  for await (const chunk of stream) {
    parts.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    for (;;) {
      if (ask === null) {
        const length = lineLength();
        if (length < 0) break;
        ask = JSON.parse(take(length + 1).toString()) as RunnerAsk;
      }
      const needed: number = ask.kind === "run" ? ask.pictureBytes : 0;
      if (size < needed) break;
      yield { ask, picture: take(needed) };
      ask = null;
    }
  }
}
