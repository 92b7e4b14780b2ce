// SPDX-License-Identifier: Apache-2.0
/**
 * What happens to machines by itself, from the engine's stream of events. The stream breaks when the
 * engine restarts; it is opened again from the time of the last event, and what the engine forgot is
 * made up for by looking at every watched machine afterwards.
 *
 *  A. Only a watched machine is spoken of: one that is running, and that nobody is starting or ending.
 *  B. The state is looked up after the event and not guessed from it.
 */
import type Docker from "dockerode";
import type { KeptState } from "../kept-driver.ts";
import { listContainers } from "./engine.ts";
import { LABEL_MACHINE, LABEL_OWNER, LABEL_SERVICE } from "./marks.ts";

const AGAIN_MS_MIN = 200;
const AGAIN_MS_MAX = 10_000;
const REST_CHARACTERS_MAX = 1024 * 1024;

export interface Change {
  state: KeptState;
  detail: string;
}

interface DockerEvent {
  Action: string;
  timeNano?: number;
  time: number;
  Actor: { ID: string; Attributes: Record<string, string> };
}

export class Changes {
  readonly #engine: Docker;
  readonly #owner: string;
  readonly #listeners: ((machineId: string, change: Change) => void)[] = [];
  /** State that was last told. */
  readonly #watched = new Map<string, KeptState>();
  readonly #end = new AbortController();
  #reading: Promise<void> | null = null;
  #since = "0";

  constructor(engine: Docker, owner: string) {
    this.#engine = engine;
    this.#owner = owner;
  }

  listen(listener: (machineId: string, change: Change) => void): void {
    this.#listeners.push(listener);
  }

  watch(machineId: string): void {
    this.#watched.set(machineId, "running");
    if (this.#reading === null) this.#reading = this.#read();
    // What ended before it was watched has had its event.
    else void this.#lookAt(machineId).catch(() => {});
  }

  /** A */
  unwatch(machineId: string): void {
    this.#watched.delete(machineId);
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#reading;
  }

  async #read(): Promise<void> {
    const { signal } = this.#end;
    this.#since = String(Date.now() / 1000);
    for (let waitMs = AGAIN_MS_MIN; !signal.aborted; ) {
      try {
        const stream = await this.#engine.getEvents({
          filters: { type: ["container"], event: ["die", "oom"], label: [`${LABEL_OWNER}=${this.#owner}`] },
          since: this.#since as never, // with decimals, which its type does not know
          abortSignal: signal,
        });
        await this.#lookAtAll();
        let rest = "";
        for await (const chunk of stream) {
          waitMs = AGAIN_MS_MIN;
          const lines = (rest + String(chunk)).split("\n");
          rest = lines.pop()!.slice(-REST_CHARACTERS_MAX);
          for (const line of lines) if (line.trim() !== "") await this.#take(JSON.parse(line));
        }
      } catch {
        // Away, or broken off: asked again below.
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, waitMs);
        function done() {
          clearTimeout(timer);
          signal.removeEventListener("abort", done);
          resolve();
        }
        signal.addEventListener("abort", done);
        if (signal.aborted) done();
      });
      waitMs = Math.min(waitMs * 2, AGAIN_MS_MAX);
    }
  }

  async #take(event: DockerEvent): Promise<void> {
    // `since` includes its own moment, and a number of JSON is exact to a quarter of a microsecond only.
    const next = BigInt(event.timeNano ?? event.time * 1e9) + 1_000n;
    this.#since = `${next / 1_000_000_000n}.${String(next % 1_000_000_000n).padStart(9, "0")}`;
    const attributes = event.Actor.Attributes;
    const machineId = attributes[LABEL_MACHINE] ?? "";
    if (!this.#watched.has(machineId)) return;
    const service = attributes[LABEL_SERVICE] ?? "a container";
    if (event.Action === "oom") {
      await this.#tell(
        machineId,
        `${service}: the machine's memory is used up and the kernel ended a process`,
      );
      return;
    }
    const container = await this.#engine
      .getContainer(event.Actor.ID)
      .inspect()
      .catch(() => null);
    const memory = container?.State.OOMKilled === true ? ", for want of memory" : "";
    const again =
      container?.State.Restarting === true || container?.State.Running === true
        ? " and is started again"
        : "";
    await this.#tell(machineId, `${service} exited with code ${attributes.exitCode ?? "?"}${memory}${again}`);
  }

  /** After a gap: the engine may have come back without what ran, and says nothing of it. */
  async #lookAtAll(): Promise<void> {
    for (const machineId of [...this.#watched.keys()]) await this.#lookAt(machineId);
  }

  async #lookAt(machineId: string): Promise<void> {
    const told = this.#watched.get(machineId);
    if (told !== undefined && (await this.#stateOf(machineId)) !== told)
      await this.#tell(machineId, "the machine was found stopped");
  }

  async #tell(machineId: string, detail: string): Promise<void> {
    const state = await this.#stateOf(machineId);
    if (!this.#watched.has(machineId)) return;
    this.#watched.set(machineId, state);
    for (const listener of this.#listeners) listener(machineId, { state, detail });
  }

  /** B */
  async #stateOf(machineId: string): Promise<KeptState> {
    const containers = await listContainers(this.#engine, this.#owner, machineId);
    return containers.some(({ info }) => ["running", "restarting", "paused"].includes(info.State))
      ? "running"
      : "halted";
  }
}
