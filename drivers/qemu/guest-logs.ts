// SPDX-License-Identifier: Apache-2.0
/** Lines of a container in a guest: asked for piece by piece, each from where the one before ended. */
import { GuestRefused } from "#guest/client.ts";
import type { GuestLogsAsk } from "#guest/protocol.ts";
import { DriverFault } from "../driver.ts";
import type { LogsAsk } from "../kept-driver.ts";
import { judged } from "./guest-words.ts";
import { pause } from "./watch.ts";

/** Of one question; an answer has room for about as many. */
const LINES_AT_ONCE = 1_000;
/** Between two looks at a log that is followed. */
const FOLLOW_MS = 1_000;

export async function* guestLines(
  question: (asked: GuestLogsAsk) => Promise<unknown>,
  ask: LogsAsk & { container: string },
): AsyncGenerator<string> {
  const { container, stream, timestamps, signal } = ask;
  const always = { container, stream, timestamps, ...(ask.since !== undefined && { since: ask.since }) };
  const read = async (more: { tail: boolean; linesMax: number; after?: string }) => {
    try {
      return judged("logs", await question({ ...always, ...more }));
    } catch (error) {
      if (signal.aborted || !(error instanceof GuestRefused)) throw error;
      throw error.code === "malformed"
        ? new DriverFault("request.invalid", error.message, { cause: error })
        : new DriverFault("machine.no-container", "the machine has no container of that name", {
            cause: error,
          });
    }
  };
  let left = ask.linesMax;
  const first = await read({ tail: ask.tail, linesMax: Math.min(left, LINES_AT_ONCE) });
  yield* first.lines.slice(0, left);
  left -= first.lines.length;
  let after = first.next;
  // From the front on there may be more than one answer holds; from the end on that was all.
  let full = !ask.tail && first.lines.length > 0;
  while (!signal.aborted && (ask.follow || (full && left > 0))) {
    if (!full && !(await pause(FOLLOW_MS, signal))) return;
    const linesMax = ask.follow ? LINES_AT_ONCE : Math.min(left, LINES_AT_ONCE);
    const { lines, next } = await read({ tail: false, linesMax, after });
    yield* lines;
    left -= lines.length;
    full = lines.length > 0;
    after = next;
  }
}
