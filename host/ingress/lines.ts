// SPDX-License-Identifier: Apache-2.0
/** Whole lines of a stream; a line of more than `bytesMax` ends the reading, with `onTooLong`. */
import type { Readable } from "node:stream";

export function readLines(
  stream: Readable,
  bytesMax: number,
  onLine: (line: string) => void,
  onTooLong: () => void,
): void {
  let held: Buffer[] = [];
  let heldBytes = 0;
  stream.on("data", function take(chunk: Buffer) {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      held.push(chunk.subarray(from, end));
      heldBytes += end - from;
      if (heldBytes > bytesMax) break;
      const line = Buffer.concat(held, heldBytes).toString("utf8");
      held = [];
      heldBytes = 0;
      from = end + 1;
      onLine(line);
    }
    held.push(chunk.subarray(from));
    heldBytes += chunk.length - from;
    if (heldBytes <= bytesMax) return;
    stream.off("data", take).resume();
    onTooLong();
  });
}
