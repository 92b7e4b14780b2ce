// SPDX-License-Identifier: Apache-2.0
/**
 * Long poll on one thing with a status (`?wait=a,b&timeout=30`): answers at once when it is so already, or when
 * the thing will change no more, and with what is at the timeout.
 */
import { Fault } from "#contract/errors.ts";
import type { Call } from "./call.ts";

/** A hint that something changed may be lost. */
const LOOK_AGAIN_MS = 1_000;
const TIMEOUT_S = 30;

export interface Waited<R> {
  /** Those that it can have; `ended` is any in which it stays. */
  states: readonly string[];
  read(): Promise<R>;
  /** One, or all that are so. */
  statusOf(row: R): string | readonly string[];
  isOver(row: R): boolean;
  /** Until something may have changed. */
  more(row: R, timeoutMs: number, signal: AbortSignal): Promise<unknown>;
}

export async function waitFor<R>(
  { query, signal }: { query: { wait?: string; timeout?: number }; signal: Call["signal"] },
  { states, read, statusOf, isOver, more }: Waited<R>,
): Promise<R> {
  const { wait, timeout = TIMEOUT_S } = query;
  const wanted = wait?.split(",");
  const unknown = wanted?.find((state) => state !== "ended" && !states.includes(state));
  if (unknown !== undefined)
    throw new Fault("request.invalid", { detail: `wait: there is no state ${unknown.slice(0, 40)}` });
  const deadline = performance.now() + timeout * 1000;
  for (;;) {
    const row = await read();
    const left = deadline - performance.now();
    const are = [statusOf(row)].flat();
    if (wanted === undefined || wanted.some((one) => are.includes(one)) || isOver(row)) return row;
    if (left <= 0 || signal.aborted) return row;
    await more(row, Math.min(left, LOOK_AGAIN_MS), signal);
  }
}
