// SPDX-License-Identifier: Apache-2.0
/**
 * A stream of server-sent events over rows with ascending numbers: sent in order from where the client
 * was, with heartbeats while nothing happens, and always with a last event `end`.
 */

import type { IncomingHttpHeaders } from "node:http";
import { Fault } from "#contract/errors.ts";
import type { ServerEvent } from "./call.ts";

export interface Followed<R extends { seq: number }> {
  /** Rows after `seq`, in order. */
  read(seq: number, limit: number): Promise<R[]>;
  /** Resolves when there may be more to read, or after `timeoutMs`. */
  more(timeoutMs: number, signal: AbortSignal): Promise<void>;
  show(row: R): Omit<ServerEvent, "id">;
  /** Nothing follows this row. */
  isLast(row: R): boolean;
  /** Asked when everything was read: nothing more will be written. */
  isOver(): Promise<boolean>;
}

const PAGE = 500;
const HEARTBEAT_MS = 15_000;

export async function* followEvents<R extends { seq: number }>(
  source: Followed<R>,
  from: number,
  signal: AbortSignal,
): AsyncGenerator<ServerEvent> {
  let seen = from;
  let quietSince = performance.now();
  while (!signal.aborted) {
    // Asked before reading, so an entry appended in between wakes the wait at once.
    const more = source.more(HEARTBEAT_MS, signal);
    const rows = await source.read(seen, PAGE);
    for (const row of rows) {
      seen = row.seq;
      yield { id: String(row.seq), ...source.show(row) };
      if (source.isLast(row)) {
        yield { id: String(row.seq), event: "end", data: {} };
        return;
      }
    }
    if (rows.length === PAGE) continue;
    if (await source.isOver()) {
      const missed = await source.read(seen, 1);
      if (missed.length > 0) continue;
      yield { id: String(seen), event: "end", data: {} };
      return;
    }
    await more;
    if (performance.now() - quietSince >= HEARTBEAT_MS - 100) {
      quietSince = performance.now();
      yield { event: "heartbeat", data: {} };
    }
  }
}

/** Where a client that was here before stopped reading; undefined for one that was not. */
export function lastEventId(headers: IncomingHttpHeaders): number | undefined {
  const given = headers["last-event-id"];
  if (given === undefined) return undefined;
  if (!/^\d{1,15}$/.test(String(given)))
    throw new Fault("request.invalid", { detail: "Last-Event-ID is not one of ours" });
  return Number(given);
}
