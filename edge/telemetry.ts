// SPDX-License-Identifier: Apache-2.0
/**
 * Telling what was counted: a sample each interval, kept until the control plane has it.
 *
 *  A. A sample has a number that no other of this server ever has, also after a power cut, so that one whose
 *     answer was lost is told again and counted once. Numbers are taken in lots; the rest of a lot is lost.
 *  B. What is kept is bounded. The oldest goes first, and how many went is told with the next.
 *  C. A sample says how long ago it ended by the monotonic clock: that of the wall may be anything here.
 *  D. What is kept is in files too, until it was told: whoever is killed has it told by the next process.
 *     A disk that is full takes nothing from who goes on.
 */
import { freemem } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, refusalOf } from "./client.ts";
import type { DeviceFigures, Figures } from "./figures.ts";
import type { Folder } from "./folder.ts";
import { hottestCelsius } from "./temperature.ts";
import { Unsent } from "./unsent.ts";

const NUMBERS = 10_000;
const KEPT_BYTES_MAX = 8 * 1024 * 1024;
const BATCH_MAX = 60;
const BATCH_BYTES_MAX = 1024 * 1024;
/** At the end the control plane may be away, and somebody waits for us. */
const FAREWELL_MS = 2_000;
/** The longest that a timer can be set to. */
const NEVER_MS = 2 ** 31 - 1;
const MIB = 1024 * 1024;

interface Sample {
  Sequence: number;
  DurationMs: number;
  Dropped: number;
  Agent: {
    UptimeSeconds: number;
    MemoryMiB: number;
    CPUPercent: number;
    MachineMemoryFreeMiB: number;
    Temperature?: number;
  };
  Devices: DeviceFigures[];
}

interface Kept {
  sample: Sample;
  endedAt: number;
  bytes: number;
}

export interface TelemetryOptions {
  client: Client;
  serverId: string;
  folder: Folder;
  figures: Figures;
  /** Asked for each sample; null: none for now. */
  everyMs(): number | null;
  say(line: string): void;
}

export class Telemetry {
  readonly #options: TelemetryOptions;
  readonly #kept: Kept[] = [];
  #bytes = 0;
  #dropped = 0;
  #numbers = { next: 0, until: 0 };
  #startedAt = performance.now();
  #cpu = process.cpuUsage();
  readonly #files: Unsent<Sample>;
  #filed = true;
  #change = new AbortController();

  constructor(options: TelemetryOptions) {
    this.#options = options;
    this.#files = new Unsent(options.folder.samples);
  }

  /** What `everyMs` says has changed: the wait begins anew. */
  change(): void {
    this.#change.abort();
  }

  /** Until `signal`, and then once more. */
  async follow(signal: AbortSignal): Promise<void> {
    const { say } = this.#options;
    let told = true;
    this.#takeUp();
    while (!signal.aborted) {
      const everyMs = this.#options.everyMs();
      const change = new AbortController();
      this.#change = change;
      const either = AbortSignal.any([signal, change.signal]);
      await sleep(everyMs ?? NEVER_MS, undefined, { signal: either }).catch(() => {});
      if (everyMs === null || (change.signal.aborted && !signal.aborted)) continue;
      const until = signal.aborted ? AbortSignal.timeout(FAREWELL_MS) : signal;
      try {
        this.#close();
        await this.#send(until);
        told = true;
      } catch (error) {
        // Said once: the agent itself says that the control plane is away.
        if (told && !signal.aborted) say(`figures are kept until later: ${(error as Error).message}`);
        told = false;
      }
    }
  }

  #close(): void {
    const endedAt = performance.now();
    const DurationMs = Math.max(1, Math.round(endedAt - this.#startedAt));
    const used = process.cpuUsage(this.#cpu);
    const temperature = hottestCelsius();
    const sample: Sample = {
      ...{ Sequence: this.#number(), DurationMs, Dropped: this.#dropped },
      Agent: {
        UptimeSeconds: Math.floor(process.uptime()),
        MemoryMiB: Math.round(process.memoryUsage.rss() / MIB),
        CPUPercent: Math.round((used.user + used.system) / DurationMs) / 10,
        MachineMemoryFreeMiB: Math.round(freemem() / MIB),
        ...(temperature !== null && { Temperature: temperature }),
      },
      Devices: this.#options.figures.take(),
    };
    this.#startedAt = endedAt;
    this.#cpu = process.cpuUsage();
    this.#dropped = 0;
    this.#add({ sample, endedAt, bytes: JSON.stringify(sample).length });
    this.#file(sample, 0);
  }

  #add(one: Kept): void {
    this.#kept.push(one);
    this.#bytes += one.bytes;
    // B
    while (this.#bytes > KEPT_BYTES_MAX && this.#kept.length > 1) this.#drop(1);
  }

  /** D. What another process of this server could not tell. */
  #takeUp(): void {
    this.#onDisk(() => {
      const { kept, lost } = this.#files.take();
      const now = performance.now();
      for (const { sample, ageMs } of kept)
        this.#add({ sample, endedAt: now - ageMs, bytes: JSON.stringify(sample).length });
      this.#dropped += lost;
    });
  }

  #file(sample: Sample, ageMs: number): void {
    this.#onDisk(() => {
      this.#files.keep(sample, ageMs);
      this.#filed = true;
    });
  }

  #onDisk(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (this.#filed) this.#options.say(`figures are kept in memory only: ${(error as Error).message}`);
      this.#filed = false;
    }
  }

  async #send(signal: AbortSignal): Promise<void> {
    const { client, serverId } = this.#options;
    while (this.#kept.length > 0) {
      const batch = this.#batch();
      const now = performance.now();
      const Samples = batch.map(({ sample, endedAt }) => ({ ...sample, AgeMs: Math.round(now - endedAt) }));
      const reply = await client.json("POST", `/dev/server/${serverId}/telemetry`, { Samples }, { signal });
      const { status } = reply;
      // What it will never take must not hold up the rest; that we are not let in may pass.
      if (status === 400 || status === 413) this.#drop(batch.length);
      else if (status !== 200) throw new Error(refusalOf(reply));
      else this.#forget(batch.length);
    }
  }

  #batch(): Kept[] {
    let bytes = 0;
    const end = this.#kept.findIndex((one, at) => {
      bytes += one.bytes;
      return at > 0 && (at === BATCH_MAX || bytes > BATCH_BYTES_MAX);
    });
    return this.#kept.slice(0, end < 0 ? undefined : end);
  }

  #forget(count: number): Kept[] {
    const gone = this.#kept.splice(0, count);
    for (const { bytes, sample } of gone) {
      this.#bytes -= bytes;
      this.#onDisk(() => this.#files.forget(sample));
    }
    return gone;
  }

  /** With those that were dropped before each of them. */
  #drop(count: number): void {
    const lost = this.#forget(count).reduce((sum, { sample }) => sum + 1 + sample.Dropped, 0);
    const next = this.#kept[0];
    if (next === undefined) this.#dropped += lost;
    else {
      next.sample.Dropped += lost;
      this.#file(next.sample, performance.now() - next.endedAt);
    }
  }

  /** A */
  #number(): number {
    if (this.#numbers.next === this.#numbers.until) {
      const next = this.#options.folder.takeNumbers(NUMBERS);
      this.#numbers = { next, until: next + NUMBERS };
    }
    return this.#numbers.next++;
  }
}
