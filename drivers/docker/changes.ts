// SPDX-License-Identifier: Apache-2.0
/**
 * What becomes of machines by itself (F of the port), judged from the engine's events.
 *
 *   running ◀─▶ restarting        running, restarting ─▶ interrupted | halted, which is the last word
 *
 *  A. Only a watched machine is spoken of: one that is running, and that nobody is starting or ending.
 *  B. An end is a container's own unless the engine was asked for it shortly before: whoever asks the
 *     engine past us (its own shutdown above all) has not changed what is wished of the machine. What is
 *     not back a moment later is brought back by a new start.
 *  C. An engine that does not answer has ended nothing. When it is back, what ran before and does not
 *     any more, with no event that says why, has gone with it: `interrupted`, whatever its exit code.
 */
import type Docker from "dockerode";
import type { Endpoint, KeptChange } from "../kept-driver.ts";
import { findEndpoint, listContainers, statusCodeOf } from "./engine.ts";
import { type EngineEvent, EngineEvents } from "./events.ts";
import { LABEL_MACHINE, LABEL_SERVICE } from "./marks.ts";
import type { Notes } from "./notes.ts";

/** How long a container may take to end after the engine was asked, at the most (engine.ts). */
const ASKED_MS = 90_000;
const ASKED_MAX = 10_000;
/** B. */
const BACK_MS = 1_000;
const CALL_MS = 30_000;

export type Listener = (machineId: string, change: KeptChange) => void;

interface Watched {
  told: "running" | "restarting";
  /** Containers that have not ended: whether each is up, or lies down to be started again. */
  containers: Map<string, { service: string; up: boolean }>;
  /** Those that ended before the first look was through, which may have seen them alive. */
  ended: Set<string> | null;
}

export class Changes {
  readonly #engine: Docker;
  readonly #owner: string;
  readonly #notes: Notes;
  readonly #events: EngineEvents;
  readonly #listeners: Listener[] = [];
  readonly #watched = new Map<string, Watched>();
  /** Container → when the engine was last asked to end it. */
  readonly #asked = new Map<string, number>();
  readonly #looks = new Set<NodeJS.Timeout>();

  constructor(engine: Docker, owner: string, notes: Notes) {
    this.#engine = engine;
    this.#owner = owner;
    this.#notes = notes;
    this.#events = new EngineEvents(engine, owner, {
      onEvent: (event) => this.#take(event),
      onGap: (sinceSeconds) => this.#lookAtAll(sinceSeconds),
    });
  }

  listen(listener: Listener): void {
    this.#listeners.push(listener);
  }

  /**
   * From now on; the machine has just been seen running. False when its public service is gone by now:
   * then it is not watched, and the caller says so. Nothing is told before the answer.
   */
  async watch(machineId: string): Promise<boolean> {
    const watched: Watched = { told: "running", containers: new Map(), ended: new Set() };
    this.#watched.set(machineId, watched);
    this.#events.open();
    try {
      for (const { id, service, info } of await this.#list(machineId))
        if (isThere(info.State) && !watched.ended?.has(id))
          watched.containers.set(id, { service, up: info.State !== "restarting" });
      watched.ended = null;
      const name = this.#public(machineId);
      if ([...watched.containers.values()].some(({ service, up }) => service === name && up)) return true;
    } catch (error) {
      this.#watched.delete(machineId);
      throw error;
    }
    this.#watched.delete(machineId);
    return false;
  }

  /** A */
  unwatch(machineId: string): void {
    this.#watched.delete(machineId);
  }

  async close(): Promise<void> {
    for (const timer of this.#looks) clearTimeout(timer);
    this.#watched.clear();
    await this.#events.close();
  }

  /** Another reason than the engine's to end it, such as its disk. */
  end(machineId: string, detail: string): void {
    this.#tell(machineId, { state: "halted", detail });
  }

  warn(machineId: string, detail: string): void {
    const told = this.#watched.get(machineId)?.told;
    if (told !== undefined) this.#tell(machineId, { state: told, detail });
  }

  watched(): string[] {
    return [...this.#watched.keys()];
  }

  async #take(event: EngineEvent): Promise<void> {
    const { ID: id, Attributes: attributes } = event.Actor;
    const machineId = attributes[LABEL_MACHINE] ?? "";
    const watched = this.#watched.get(machineId);
    if (watched === undefined) return;
    const service = attributes[LABEL_SERVICE] ?? "a container";
    switch (event.Action) {
      case "kill":
        this.#asked.set(id, Date.now());
        if (this.#asked.size > ASKED_MAX) this.#asked.delete(this.#asked.keys().next().value!);
        return;
      case "oom":
        this.warn(machineId, `${service}: the machine's memory is used up and the kernel ended a process`);
        return;
      case "start":
        watched.containers.set(id, { service, up: true });
        return this.#back(machineId);
      case "die":
        return this.#died(machineId, watched, id, service, attributes.exitCode ?? "?");
    }
  }

  async #died(machineId: string, watched: Watched, id: string, service: string, code: string): Promise<void> {
    const asked = Date.now() - (this.#asked.get(id) ?? 0) < ASKED_MS;
    this.#asked.delete(id);
    const seen = await this.#engine
      .getContainer(id)
      .inspect({ abortSignal: AbortSignal.timeout(CALL_MS) })
      .catch((error) => (statusCodeOf(error) === 404 ? null : undefined));
    if (this.#watched.get(machineId) !== watched) return;
    const memory = seen?.State.OOMKilled === true ? ", for want of memory" : "";
    const words = `${service} exited with code ${code}${memory}`;
    if (asked || seen === undefined) {
      // B, C: it is kept among what should be there.
      watched.containers.set(id, { service, up: false });
      this.#lookSoon(machineId);
      this.#settle(machineId, `${words}, since the engine was asked to end it`, "interrupted");
      return;
    }
    if (seen?.State.Restarting === true || seen?.State.Running === true) {
      watched.containers.set(id, { service, up: false });
      const told = watched.told;
      this.#settle(machineId, `${words} and is started again`, "halted");
      if (this.#watched.get(machineId)?.told === told) this.warn(machineId, `${words} and is started again`);
      return;
    }
    watched.containers.delete(id);
    watched.ended?.add(id);
    this.#settle(machineId, words, "halted");
    if (!this.#watched.has(machineId)) return;
    // One that did its work and ended well is no news to anybody.
    if (code === "0") this.#log(machineId, words);
    else this.warn(machineId, words);
  }

  /** The public service decides: what is told follows from what is known of its containers. */
  #settle(machineId: string, words: string, gone: "interrupted" | "halted"): void {
    const watched = this.#watched.get(machineId);
    if (watched === undefined || watched.ended !== null) return;
    const name = this.#public(machineId);
    const own = [...watched.containers.values()].filter(({ service }) => service === name);
    if (own.some(({ up }) => up)) return;
    if (own.length === 0) this.#tell(machineId, { state: gone, detail: words });
    else if (watched.told === "running") this.#tell(machineId, { state: "restarting", detail: words });
  }

  async #back(machineId: string): Promise<void> {
    const watched = this.#watched.get(machineId);
    if (watched?.told !== "restarting") return;
    const name = this.#public(machineId);
    if (![...watched.containers.values()].some(({ service, up }) => service === name && up)) return;
    // Its port may be another one than before, where the engine chose it.
    const endpoint = await this.#endpoint(machineId);
    if (endpoint === null || this.#watched.get(machineId) !== watched) return;
    this.#tell(machineId, { state: "running", detail: `${name} is back`, endpoint });
  }

  /** C. After a gap: the engine may have come back without what ran, and says nothing of it. */
  async #lookAtAll(sinceSeconds: number): Promise<void> {
    for (const machineId of [...this.#watched.keys()]) await this.#lookAt(machineId, sinceSeconds);
  }

  async #lookAt(machineId: string, sinceSeconds: number | null): Promise<void> {
    const watched = this.#watched.get(machineId);
    if (watched === undefined) return;
    const before = new Set(watched.containers.keys());
    const there = (await this.#list(machineId)).filter(({ info }) => isThere(info.State));
    if (this.#watched.get(machineId) !== watched) return;
    const name = this.#public(machineId);
    const missing = [...before].filter((id) => !there.some((each) => each.id === id));
    if (missing.length > 0 || !there.some(({ service }) => service === name)) {
      const services = [...new Set(missing.map((id) => watched.containers.get(id)?.service ?? name))];
      const detail = `${services.join(", ") || name} was ended with the Docker engine or through it`;
      this.#tell(machineId, { state: "interrupted", detail });
      return;
    }
    watched.ended = null;
    for (const { id, service, info } of there)
      watched.containers.set(id, { service, up: info.State !== "restarting" });
    const restarted = sinceSeconds !== null && (await this.#startedSince(there, name, sinceSeconds));
    if (restarted && watched.told === "running")
      this.#tell(machineId, { state: "restarting", detail: `${name} was restarted with the Docker engine` });
    this.#settle(machineId, `${name} is being started again`, "interrupted");
    await this.#back(machineId);
  }

  async #startedSince(
    there: readonly { id: string; service: string }[],
    name: string | null,
    sinceSeconds: number,
  ): Promise<boolean> {
    for (const { id, service } of there) {
      if (service !== name) continue;
      const { State } = await this.#engine
        .getContainer(id)
        .inspect({ abortSignal: AbortSignal.timeout(CALL_MS) });
      if (Date.parse(State.StartedAt) / 1000 > sinceSeconds) return true;
    }
    return false;
  }

  /** While the engine is away nothing is learned, and it is looked again. */
  #lookSoon(machineId: string): void {
    const timer = setTimeout(() => {
      this.#looks.delete(timer);
      void this.#lookAt(machineId, null).catch(() => this.#lookSoon(machineId));
    }, BACK_MS);
    this.#looks.add(timer);
  }

  #tell(machineId: string, change: KeptChange): void {
    const watched = this.#watched.get(machineId);
    if (watched === undefined) return;
    if (change.state === "running" || change.state === "restarting") watched.told = change.state;
    else this.#watched.delete(machineId);
    this.#log(machineId, change.detail);
    for (const listener of this.#listeners) listener(machineId, change);
  }

  #log(machineId: string, text: string): void {
    if (this.#notes.read(machineId) !== null) this.#notes.log(machineId, text);
  }

  #public(machineId: string): string | null {
    return this.#notes.read(machineId)?.publicService ?? null;
  }

  #list(machineId: string) {
    return listContainers(this.#engine, this.#owner, machineId);
  }

  async #endpoint(machineId: string): Promise<Endpoint | null> {
    const note = this.#notes.read(machineId);
    if (note === null) return null;
    return findEndpoint(this.#engine, this.#owner, machineId, note.publicService, note.publicPort);
  }
}

const isThere = (state: string) => ["running", "restarting", "paused"].includes(state);
