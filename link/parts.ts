// SPDX-License-Identifier: Apache-2.0
/** Lists longer than a frame, in both directions: cut here, put together by whoever receives the last part. */
import type { Desired } from "#contract/link/machine.ts";
import { LinkFault } from "./message.ts";
import { FRAME_MAX } from "./port.ts";

/** Machines in one batch put together from frames; more is a flood. */
const BATCH_MAX = 100_000;
/** Room for a list in one frame, the rest of the header aside. */
const LIST_BYTES = FRAME_MAX / 2;

/** Each part fits a frame; an empty list is one empty part. One item cannot be cut, whatever it weighs. */
export function partsOf<T>(items: T[]): T[][] {
  if (items.length < 2) return [items];
  const parts: T[][] = [[]];
  let bytes = 0;
  for (const item of items) {
    const size = Buffer.byteLength(JSON.stringify(item)) + 1;
    if (bytes > 0 && bytes + size > LIST_BYTES) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(item);
    bytes += size;
  }
  return parts;
}

/** Answers the whole batch with its last part. */
export function batchCollector(): (part: Desired[], more: boolean) => Desired[] | undefined {
  let held: Desired[] = [];
  return (part, more) => {
    if (held.length + part.length > BATCH_MAX) throw new LinkFault("link.malformed", "a batch without end");
    held.push(...part);
    if (more) return undefined;
    const whole = held;
    held = [];
    return whole;
  };
}
