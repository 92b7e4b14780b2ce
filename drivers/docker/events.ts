// SPDX-License-Identifier: Apache-2.0
/**
 * The engine's stream of events about our containers, for as long as the driver lives. It breaks when
 * the engine restarts, and is opened again from the time of the last event.
 *
 *  A. Events are taken one after the other, in order.
 *  B. After a gap what the engine still remembers is taken first, and then `onGap` is called: whatever
 *     those events do not explain happened with the engine's own end.
 */
import type Docker from "dockerode";
import { LABEL_OWNER } from "./marks.ts";

const AGAIN_MS_MIN = 200;
const AGAIN_MS_MAX = 5_000;
const REST_CHARACTERS_MAX = 1024 * 1024;
const CALL_MS = 30_000;
const KINDS = ["die", "oom", "kill", "start"];

export interface EngineEvent {
  Action: string;
  timeNano?: number;
  time: number;
  Actor: { ID: string; Attributes: Record<string, string> };
}

export interface EventListener {
  onEvent(event: EngineEvent): Promise<void>;
  /** The engine was away since the given time (Unix, seconds) at the earliest. */
  onGap(sinceSeconds: number): Promise<void>;
}

export class EngineEvents {
  readonly #engine: Docker;
  readonly #owner: string;
  readonly #listener: EventListener;
  readonly #end = new AbortController();
  #reading: Promise<void> | null = null;
  #since = "0";

  constructor(engine: Docker, owner: string, listener: EventListener) {
    this.#engine = engine;
    this.#owner = owner;
    this.#listener = listener;
  }

  /** Idempotent. What happens from this moment on is told. */
  open(): void {
    if (this.#reading !== null) return;
    this.#since = String(Date.now() / 1000);
    this.#reading = this.#read();
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#reading;
  }

  async #read(): Promise<void> {
    const { signal } = this.#end;
    let lostAt: number | null = null;
    for (let waitMs = AGAIN_MS_MIN; !signal.aborted; ) {
      try {
        if (lostAt !== null) {
          // B
          const until = String(Date.now() / 1000);
          await this.#takeAll(
            await this.#ask({ until, abortSignal: AbortSignal.any([signal, AbortSignal.timeout(CALL_MS)]) }),
          );
          await this.#listener.onGap(lostAt);
          lostAt = null;
        }
        const stream = await this.#ask({ abortSignal: signal });
        waitMs = AGAIN_MS_MIN;
        await this.#takeAll(stream);
      } catch {
        // Away, or broken off: asked again below.
      }
      lostAt ??= Number(this.#since);
      await pause(waitMs, signal);
      waitMs = Math.min(waitMs * 2, AGAIN_MS_MAX);
    }
  }

  #ask(more: { until?: string; abortSignal: AbortSignal }): Promise<AsyncIterable<unknown>> {
    return this.#engine.getEvents({
      filters: { type: ["container"], event: KINDS, label: [`${LABEL_OWNER}=${this.#owner}`] },
      since: this.#since as never, // with decimals, which its type does not know
      ...(more as object),
    }) as Promise<unknown> as Promise<AsyncIterable<unknown>>;
  }

  async #takeAll(stream: AsyncIterable<unknown>): Promise<void> {
    let rest = "";
    for await (const chunk of stream) {
      const lines = (rest + String(chunk)).split("\n");
      rest = lines.pop()!.slice(-REST_CHARACTERS_MAX);
      for (const line of lines) if (line.trim() !== "") await this.#take(JSON.parse(line));
    }
  }

  /** A */
  async #take(event: EngineEvent): Promise<void> {
    // `since` includes its own moment, and a number of JSON is exact to a quarter of a microsecond only.
    const next = BigInt(event.timeNano ?? event.time * 1e9) + 1_000n;
    this.#since = `${next / 1_000_000_000n}.${String(next % 1_000_000_000n).padStart(9, "0")}`;
    await this.#listener.onEvent(event);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
