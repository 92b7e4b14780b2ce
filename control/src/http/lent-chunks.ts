// SPDX-License-Identifier: Apache-2.0
/**
 * A large body as it comes, each chunk lent until the next is asked for. Its memory is then given back at once:
 * it lies outside the collector's heap, so that the collector would come for every few dozen megabytes and
 * walk the whole heap each time, and everybody else waits while it does.
 */
import { IncomingMessage } from "node:http";
import { finished, type Readable } from "node:stream";

/** Read ahead of who asks. */
const AHEAD_BYTES = 512 * 1024;

export async function* lentChunks(stream: Readable): AsyncGenerator<Uint8Array> {
  const waiting: Buffer[] = [];
  let size = 0;
  let over: Error | null | undefined;
  let wake = () => {};
  const take = (chunk: Buffer) => {
    waiting.push(chunk);
    size += chunk.length;
    if (size >= AHEAD_BYTES) stream.pause();
    wake();
  };
  const forget = finished(stream, { writable: false }, (error) => {
    over = error ?? null;
    wake();
  });
  // Not by its own iterator, which joins what waits into yet another copy.
  stream.on("data", take);
  try {
    for (;;) {
      const chunk = waiting.shift();
      if (chunk !== undefined) {
        size -= chunk.length;
        if (size < AHEAD_BYTES && stream.isPaused()) stream.resume();
        yield chunk;
        giveBack(chunk);
      } else if (over === undefined) await new Promise<void>((resolve) => (wake = resolve));
      else if (over !== null) throw over;
      else return;
    }
  } finally {
    stream.off("data", take);
    forget();
    if (over === undefined) leave(stream);
  }
}

/** Of a request the connection is still needed, for the answer. */
function leave(stream: Readable): void {
  if (stream instanceof IncomingMessage) stream.pause();
  else stream.destroy();
}

/** Whoever has another part of the same memory, a parser above all, keeps it. */
function giveBack({ buffer, byteOffset, byteLength }: Uint8Array): void {
  if (byteOffset === 0 && byteLength === buffer.byteLength) (buffer as ArrayBuffer).transfer(0);
}
