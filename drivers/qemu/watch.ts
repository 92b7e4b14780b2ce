// SPDX-License-Identifier: Apache-2.0
/** Looks at what runs in a guest, now and then, and says what became of it (port F). */
import { setTimeout as sleep } from "node:timers/promises";
import { type Guest, GuestBusy } from "#guest/client.ts";
import type { KeptChange } from "../kept-driver.ts";
import { judged } from "./guest-words.ts";

export interface WatchAsk {
  guest: Guest;
  everyMs: number;
  timeoutMs: number;
  signal: AbortSignal;
  onChange(change: KeptChange): void;
  /** It does not answer, or answers what no agent of ours does; it is not looked at any more. */
  onMute(why: string): void;
  /** What is done in passing; it does not throw. */
  onTurn(): Promise<void>;
}

export interface Watched {
  stop(): void;
  ended: Promise<void>;
}

export function watchGuest(ask: WatchAsk): Watched {
  const stopped = new AbortController();
  const signal = AbortSignal.any([ask.signal, stopped.signal]);
  const ended = look(ask, signal).catch((error: unknown) => {
    if (!signal.aborted) ask.onMute(error instanceof Error ? error.message : String(error));
  });
  return { stop: () => stopped.abort(), ended };
}

async function look({ guest, everyMs, timeoutMs, onChange, onTurn }: WatchAsk, signal: AbortSignal) {
  let up = true;
  while (await pause(everyMs, signal)) {
    const said = await guest.ask("status", {}, { timeoutMs }).catch((error: unknown) => {
      if (error instanceof GuestBusy) return null;
      throw error;
    });
    if (signal.aborted) return;
    // It was not asked: others' questions are no silence of its own.
    if (said === null) continue;
    const status = judged("status", said);
    const { phase, detail } = status;
    if (phase === "ended" || phase === "failed")
      return onChange({ state: "halted", detail: detail || "its public service has ended" });
    if (status.public !== up) {
      up = status.public;
      // Its endpoint is what it was: the way to the machine has not changed.
      onChange(
        up
          ? { state: "running", detail: detail || "its public service is back" }
          : { state: "restarting", detail: detail || "its public service is down" },
      );
    }
    await onTurn();
  }
}

/** False when it is not wanted any more. */
export const pause = (ms: number, signal: AbortSignal): Promise<boolean> =>
  sleep(ms, true, { signal }).catch(() => false);
