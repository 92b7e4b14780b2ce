// SPDX-License-Identifier: Apache-2.0
/**
 * What machines with a limit have sent in their lives. The kernel counts and cuts while there are rules of a machine (rules.ts, G); rules go
 * with a halt, with a restart of the computer and with whoever empties its firewall, and the count must not. The attacker is whoever has the
 * machine and would have a fresh limit for a restart.
 *
 *  A. A count only grows, and who was cut stays cut.
 *  B. What a machine had sent is on disk before its rules are taken away in the regular way, and every few seconds meanwhile. A computer that
 *     loses its power forgets those seconds at most; a guest cannot bring that about.
 *  C. A count that was there and cannot be read, or is gone, is one that is over its limit.
 *  D. Of a machine that is removed the last count is told for a while.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { MACHINE_ID } from "../../docker/marks.ts";
import type { EgressFacts } from "../../kept-driver.ts";
import type { Meter } from "./rules.ts";
import type { Metered } from "./taps.ts";

export interface MetersOptions {
  folder: string;
  /** Null: this computer counts nothing now. */
  taps(): { metered(): Promise<Map<string, Metered>> } | null;
  everyMs: number;
  /** Wall clock. */
  now?(): number;
}

interface Count {
  sentBytes: number;
  cutAtMs: number | null;
}

const TOLD_MS = 600_000;
const SUFFIX = ".json";

export class Meters {
  readonly #options: MetersOptions;
  readonly #counts = new Map<string, Count>();
  /** D */
  readonly #gone = new Map<string, Count & { untilMs: number }>();
  readonly #timer: NodeJS.Timeout;
  #reading: Promise<void> | null = null;

  constructor(options: MetersOptions) {
    this.#options = options;
    mkdirSync(options.folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(options.folder)) {
      const id = name.slice(0, -SUFFIX.length);
      if (name.endsWith(SUFFIX) && MACHINE_ID.test(id)) this.#counts.set(id, this.#load(id));
    }
    this.#timer = setInterval(() => {
      if (this.#counts.size > 0) this.#read().catch(() => {});
    }, options.everyMs);
    this.#timer.unref();
  }

  /** What the rules of a start begin with. `known`: what others remember of it, who may know more. */
  begin(machineId: string, limitBytes: number, known: Metered): Meter {
    return this.#meter(machineId, limitBytes, known);
  }

  /** Of one whose rules were there before. */
  resume(machineId: string, limitBytes: number): Meter {
    return this.#meter(machineId, limitBytes, { sentBytes: 0, cut: !this.#counts.has(machineId) }); // C
  }

  /** B. Before rules are taken away; rejects when what they counted cannot be read. */
  async settle(machineId: string): Promise<void> {
    if (!this.#counts.has(machineId)) return;
    // One that is under way may have looked before the last packet.
    await this.#reading?.catch(() => {});
    await this.#read();
  }

  async readings(): Promise<EgressFacts[]> {
    await this.#read();
    const nowMs = this.#now();
    for (const [id, { untilMs }] of this.#gone) if (untilMs < nowMs) this.#gone.delete(id);
    return [...this.#counts, ...this.#gone].map(([machineId, { sentBytes, cutAtMs }]) => ({
      ...{ machineId, sentBytes, cutAtMs },
    }));
  }

  /** Its rules are gone. */
  remove(machineId: string): void {
    const count = this.#counts.get(machineId);
    if (count !== undefined) this.#gone.set(machineId, { ...count, untilMs: this.#now() + TOLD_MS });
    this.#counts.delete(machineId);
    for (const end of ["", ".new"]) rmSync(`${this.#path(machineId)}${end}`, { force: true });
  }

  list(): string[] {
    return [...this.#counts.keys()];
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #meter(machineId: string, limitBytes: number, known: Metered): Meter {
    this.#grow(machineId, known, true);
    const { sentBytes, cutAtMs } = this.#counts.get(machineId)!;
    return { limitBytes, sentBytes, cut: cutAtMs !== null };
  }

  /** Several at once are one; who asks meanwhile is told what that one saw. */
  #read(): Promise<void> {
    this.#reading ??= this.#look().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  async #look(): Promise<void> {
    const counted = await this.#options.taps()?.metered();
    for (const [id, one] of counted ?? []) if (this.#counts.has(id)) this.#grow(id, one, false);
  }

  /** A */
  #grow(machineId: string, { sentBytes, cut }: Metered, isNew: boolean): void {
    const before = this.#counts.get(machineId);
    const now: Count = {
      sentBytes: Math.max(before?.sentBytes ?? 0, sentBytes),
      cutAtMs: before?.cutAtMs ?? (cut ? this.#now() : null),
    };
    const same = before?.sentBytes === now.sentBytes && before.cutAtMs === now.cutAtMs;
    if (same && !isNew) return;
    this.#store(machineId, now);
    this.#counts.set(machineId, now);
  }

  #store(machineId: string, count: Count): void {
    const path = this.#path(machineId);
    const file = openSync(`${path}.new`, "w", 0o600);
    try {
      writeFileSync(file, JSON.stringify({ v: 1, ...count }));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.new`, path);
  }

  /** C */
  #load(machineId: string): Count {
    try {
      const said: unknown = JSON.parse(readFileSync(this.#path(machineId), "utf8"));
      if (isCount(said)) return { sentBytes: said.sentBytes, cutAtMs: said.cutAtMs };
    } catch {}
    return { sentBytes: 0, cutAtMs: this.#now() };
  }

  #path(machineId: string): string {
    if (!MACHINE_ID.test(machineId)) throw new TypeError("not a machine id");
    return join(this.#options.folder, machineId + SUFFIX);
  }

  #now(): number {
    return this.#options.now?.() ?? Date.now();
  }
}

const isCount = (said: unknown): said is Count => {
  const { sentBytes, cutAtMs } = (said ?? {}) as Partial<Count>;
  return (
    Number.isSafeInteger(sentBytes) && sentBytes! >= 0 && (cutAtMs === null || Number.isSafeInteger(cutAtMs))
  );
};
