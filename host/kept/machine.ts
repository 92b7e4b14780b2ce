// SPDX-License-Identifier: Apache-2.0
/**
 * One kept machine on this host: a wish, what is, and the one loop that makes the second like the
 * first.
 *
 *   none ─▶ starting ─▶ running ─▶ halted ─▶ starting …        anything ─▶ ended
 *
 * Invariants:
 *  A. One loop at a time. A wish that comes meanwhile is taken up by it at the next turn, and a start
 *     that it makes pointless is aborted.
 *  B. What is about to be done is on disk before it is done: after a kill the next process finds it.
 *  C. An incarnation is tried once. A start that failed is reported and waits for the next one:
 *     whether to try again, and where, is control's to decide.
 *  D. What is said is about the wish that was acted on, even when another has come meanwhile: room and
 *     money are given back for the start that a report names.
 *  E. The payload is asked for when it is needed, and is gone from memory when the start is through.
 */
import type { Desired, Observation } from "#contract/link/machine.ts";
import type { Payload } from "#contract/link/payload.ts";
import { DriverFault } from "#drivers/driver.ts";
import type { Endpoint, KeptDriver } from "#drivers/kept-driver.ts";
import type { HostLog } from "../machine.ts";
import type { KeptEntry, KeptStore } from "./store.ts";

/** A payload that was asked for and did not come is asked for again. */
const ASK_AGAIN_MS = 2_000;

export interface KeptDeps {
  store: KeptStore;
  driver: KeptDriver;
  report(observation: Observation): void;
  /** The endpoint or the domains of a machine changed. Resolves when strangers are led by it. */
  onRoute(): void | Promise<void>;
  onGone(machineId: string): void;
  log: HostLog;
}

export class KeptMachine {
  readonly id: string;
  readonly #deps: KeptDeps;
  #entry: KeptEntry;
  #endpoint: Endpoint | null = null;
  #payload: { incarnation: number; payload: Payload } | null = null;
  #fault: { incarnation: number; code: string; detail: string } | null = null;
  #loop: Promise<void> | null = null;
  #dirty = false;
  #attempt: AbortController | null = null;
  #askAgain: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(id: string, deps: KeptDeps, entry: KeptEntry) {
    this.id = id;
    this.#deps = deps;
    this.#entry = entry;
  }

  get desired(): Desired {
    return this.#entry.desired;
  }

  get running(): boolean {
    return this.#entry.applied?.state === "running";
  }

  /** Where the ingress finds it; null while it does not run. */
  get endpoint(): Endpoint | null {
    return this.running ? this.#endpoint : null;
  }

  /** Takes up what an earlier process left. */
  async adopt(): Promise<void> {
    const { applied, record } = this.#entry;
    if (applied?.state !== "running" || record === null) return;
    const found = await this.#deps.driver.find(this.id, record).catch((error) => {
      this.#deps.log("host.kept-unfindable", { machineId: this.id, error: String(error) });
      return { state: "halted" as const, endpoint: null };
    });
    this.#endpoint = found.endpoint;
    // Halted by whatever halted the host: it is brought up again as the incarnation it was.
    if (found.state !== "running" || found.endpoint === null) this.#entry = { ...this.#entry, applied: null };
    this.#deps.onRoute();
  }

  /** `refused`: why it is not to come up, whatever is wished. */
  wish(desired: Desired, refused?: string): void {
    const { desired: known } = this.#entry;
    if (desired.generation < known.generation) return;
    // `down` sticks, as for every machine.
    if (known.want === "down" && desired.want !== "down") return;
    const stale = desired.want !== known.want || desired.incarnation !== known.incarnation;
    this.#entry = { ...this.#entry, desired };
    if (refused !== undefined)
      this.#fault = { incarnation: desired.incarnation ?? 1, code: "host.above-ceiling", detail: refused };
    if (stale) this.#attempt?.abort(new Error("the wish changed"));
    if (JSON.stringify(desired.spec.kept?.domains) !== JSON.stringify(known.spec.kept?.domains))
      this.#deps.onRoute();
    this.#run();
  }

  give(incarnation: number, payload: Payload): void {
    if (incarnation !== (this.desired.incarnation ?? 1)) return;
    this.#payload = { incarnation, payload };
    this.#run();
  }

  refuse(incarnation: number): void {
    this.#fault = {
      incarnation,
      code: "machine.start-failed",
      detail: "the host cannot take what is to run",
    };
    this.#run();
  }

  /** The driver saw it change by itself. */
  changed(state: "running" | "halted" | "gone", detail: string): void {
    const { applied } = this.#entry;
    if (this.#loop !== null || applied?.state !== "running" || state === "running") return;
    this.#fault = { incarnation: applied.incarnation, code: "machine.exited", detail };
    this.#entry = { ...this.#entry, applied: { ...applied, state: "halted" } };
    this.#deps.onRoute();
    this.#run();
  }

  /** Resolves when nothing is being done any more. */
  async settled(): Promise<void> {
    while (this.#loop !== null) await this.#loop;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#askAgain);
    this.#attempt?.abort(new Error("the host is stopping"));
    await this.settled();
  }

  /** After `close`. */
  async suspend(): Promise<void> {
    if (!this.running) return;
    await this.#deps.driver.halt(this.id, this.#entry.record).catch((error) => {
      this.#deps.log("host.kept-halt-failed", { machineId: this.id, error: String(error) });
    });
    this.#say(this.desired, "starting", { idle: true });
  }

  #run(): void {
    this.#dirty = true;
    if (this.#closed) return;
    this.#loop ??= this.#converge()
      .catch((error) => {
        this.#deps.log("host.kept-stuck", { machineId: this.id, error: String(error) });
        this.#askLater();
      })
      .finally(() => {
        this.#loop = null;
        if (this.#dirty && !this.#closed) this.#run();
      });
  }

  async #converge(): Promise<void> {
    while (this.#dirty && !this.#closed) {
      this.#dirty = false;
      clearTimeout(this.#askAgain);
      const goal = this.desired;
      if (goal.want === "down") return this.#remove(goal);
      if (goal.want === "halted") await this.#halt(goal);
      else await this.#bringUp(goal);
    }
  }

  async #bringUp(goal: Desired): Promise<void> {
    const incarnation = goal.incarnation ?? 1;
    if (this.running && this.#entry.applied!.incarnation === incarnation) return this.#say(goal, "running");
    const fault = this.#fault;
    if (fault?.incarnation === incarnation) {
      // C. What runs is an older start of it, which nobody wishes for any more.
      if (this.running) await this.#end(goal);
      return this.#say(goal, "halted", fault);
    }
    if (this.#payload?.incarnation !== incarnation) {
      // An older start may still run until this one can replace it.
      this.#say(goal, "starting", { wantsPayload: true, ...(this.running ? {} : { idle: true }) });
      this.#askLater();
      return;
    }
    const { payload } = this.#payload;
    this.#say(goal, "starting");
    this.#attempt = new AbortController();
    try {
      await this.#store({ applied: { incarnation, state: "halted" } }); // B
      const { record, endpoint } = await this.#deps.driver.start(this.id, goal.spec, payload, {
        onRecord: (early) => this.#store({ record: early }),
        onProgress: (detail) => this.#say(goal, "starting", { detail }),
        signal: this.#attempt.signal,
      });
      this.#endpoint = endpoint;
      this.#fault = null;
      await this.#store({ record, applied: { incarnation, state: "running" } });
      this.#payload = null; // E
      await this.#deps.onRoute();
      this.#say(goal, "running");
    } catch (error) {
      this.#endpoint = null;
      if (this.#attempt.signal.aborted) {
        this.#dirty = true;
        return;
      }
      this.#payload = null;
      this.#fault = { incarnation, ...wordsOf(error) };
      this.#deps.log("host.kept-start-failed", { machineId: this.id, error: String(error) });
      this.#deps.onRoute();
      this.#say(goal, "halted", this.#fault);
    } finally {
      this.#attempt = null;
    }
  }

  async #halt(goal: Desired): Promise<void> {
    await this.#end(goal);
    this.#say(goal, "halted");
  }

  async #end(goal: Desired): Promise<void> {
    const incarnation = goal.incarnation ?? 1;
    this.#payload = null;
    this.#endpoint = null;
    await this.#store({ applied: { incarnation, state: "halted" } });
    await this.#deps.onRoute();
    await this.#deps.driver.halt(this.id, this.#entry.record);
  }

  async #remove(goal: Desired): Promise<void> {
    this.#payload = null;
    this.#endpoint = null;
    await this.#deps.onRoute();
    await this.#deps.driver.remove(this.id, this.#entry.record);
    this.#deps.store.drop(this.id);
    this.#closed = true;
    this.#deps.onGone(this.id);
    this.#say(goal, "ended");
  }

  async #store(change: Partial<KeptEntry>): Promise<void> {
    this.#entry = { ...this.#entry, ...change };
    await this.#deps.store.put(this.id, this.#entry);
  }

  /** D. */
  #say(
    { generation, incarnation = 1 }: Desired,
    state: Observation["state"],
    more: Partial<Observation> = {},
  ): void {
    const { code, detail, wantsPayload, idle } = more;
    this.#deps.report({
      ...{ machineId: this.id, generation, incarnation, state },
      ...(code === undefined ? {} : { code }),
      ...(detail === undefined ? {} : { detail: detail.slice(0, 1000) }),
      ...(wantsPayload === undefined ? {} : { wantsPayload }),
      ...(idle === undefined ? {} : { idle }),
    });
  }

  #askLater(): void {
    clearTimeout(this.#askAgain);
    if (!this.#closed) this.#askAgain = setTimeout(() => this.#run(), ASK_AGAIN_MS);
  }
}

/** Only a driver's own words are public; another error's may hold paths or worse. */
function wordsOf(error: unknown): { code: string; detail: string } {
  if (error instanceof DriverFault) return { code: error.code, detail: error.message.slice(0, 1000) };
  return { code: "machine.start-failed", detail: "the host could not start the machine" };
}
