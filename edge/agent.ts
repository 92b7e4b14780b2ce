// SPDX-License-Identifier: Apache-2.0
/**
 * The agent: asks what it is to do and waits, brings what that needs, tries it, and only then gives up what
 * it did before.
 *
 *  A. A wish that cannot be brought about, or fails its trial, changes nothing here: what ran goes on, the
 *     number reported stays, and why is reported.
 *  B. While the control plane is away the last good wish runs, also after a restart without it.
 *  C. A runner that dies is started again with the same wish.
 *  D. That the control plane was away while a wish was brought here says nothing of the wish: it is tried again.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { fetchKeys, type Keys, provide } from "./artifacts.ts";
import { isAway } from "./away.ts";
import { Client, refusalOf } from "./client.ts";
import { Figures, type Looked } from "./figures.ts";
import type { Folder, Identity } from "./folder.ts";
import { RunFault, Runner } from "./runner-process.ts";
import { Telemetry } from "./telemetry.ts";
import { readWish, type Wish, type WishedDevice } from "./wish.ts";

const WAIT_S = 25;
const AGAIN_MS = 3_000;
const TRIAL_MS = 60_000;
const PICTURE_MS = 20_000;
const RUNTIME = "cpu";
const TARGETS = ["application/x-onnx", "application/x-ort"];

export interface AgentOptions {
  identity: Identity;
  folder: Folder;
  version: string;
  runtimeVersion: string;
  threads: number;
  /** Between two samples of what was counted, unless its owner says otherwise; null: none is told. */
  telemetryMs: number | null;
  /** Around what runs models; null where there can be none. */
  walls: { memoryMiB: number } | null;
  say(line: string): void;
}

interface Running {
  wish: Wish;
  runner: Runner;
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #client: Client;
  readonly #stopping = new AbortController();
  #running: Running | null = null;
  #mending: Promise<void> | null = null;
  /** The mark of the wish that was looked at last. */
  #seen: string | undefined;
  /** The number of the wish that was tried last, well or not. */
  #tried: number | undefined;
  #fault: string | null = null;
  /** Of its devices those whose part failed; none: it cannot be said. */
  #failed: readonly string[] = [];
  /** The control plane has what is to be said of it. */
  #told = false;
  #keys: Keys = new Map();
  readonly #figures = new Figures();
  #telemetry: Telemetry | null = null;

  constructor(options: AgentOptions) {
    this.#options = options;
    const { url, key, ca } = options.identity;
    this.#client = new Client({ url, key, ca });
  }

  /** Until `stop`. */
  async follow(): Promise<void> {
    const { folder, say, identity } = this.#options;
    this.#telemetry = new Telemetry({
      ...{ client: this.#client, serverId: identity.serverId, folder, say },
      ...{ figures: this.#figures, everyMs: () => this.#telemetryMs() },
    });
    const telling = this.#telemetry.follow(this.#stopping.signal);
    const good = folder.lastGood();
    if (good !== null)
      await this.#adopt(good).catch((error: Error) =>
        say(`the last good wish does not run: ${error.message}`),
      );
    while (!this.#stopping.signal.aborted) {
      try {
        await this.#turn();
      } catch (error) {
        if (this.#stopping.signal.aborted) break;
        say(`the control plane is away: ${(error as Error).message}`);
        await sleep(AGAIN_MS, undefined, { signal: this.#stopping.signal }).catch(() => {});
      }
    }
    this.#running?.runner.end();
    await telling;
  }

  /** Its owner's word, or what it was started with. */
  #telemetryMs(): number | null {
    const seconds = this.#running?.wish.Desired.Settings?.TelemetrySeconds;
    if (seconds === undefined) return this.#options.telemetryMs;
    return seconds === 0 ? null : seconds * 1000;
  }

  stop(): void {
    this.#stopping.abort();
  }

  devices(): WishedDevice[] {
    return this.#running?.wish.Desired.Devices.filter(({ Enabled, Active }) => Enabled && Active) ?? [];
  }

  /** A picture came that nobody will look at: a newer one was there first. */
  dropped(): void {
    for (const device of this.devices()) this.#figures.drop(device);
  }

  /** What the pipelines of a device find in a picture; so many wait behind it. */
  async look(device: WishedDevice, picture: Buffer, waiting = 0): Promise<Looked> {
    const { runner, wish } = this.#running ?? {};
    this.#figures.wait(device, waiting);
    if (runner === undefined || wish === undefined) return { found: [], eachMs: [], tookMs: 0 };
    try {
      const looked = await runner.run(device.Pipelines, picture, PICTURE_MS);
      this.#figures.note(device, looked);
      return looked;
    } catch (error) {
      // What ends with us is no fault of the picture's.
      if (!this.#stopping.signal.aborted) this.#figures.note(device, null);
      if (this.#running?.runner === runner && !this.#stopping.signal.aborted) {
        if (this.#mending === null) this.#options.say((error as Error).message);
        // C. Once, however many pictures were on their way: a later one finds it well again.
        if (runner.isOver)
          this.#mending ??= this.#adopt(wish, runner)
            .catch((again: Error) => this.#options.say(again.message))
            .finally(() => {
              this.#mending = null;
            });
        await this.#mending;
      }
      throw error;
    }
  }

  async #turn(): Promise<void> {
    const { identity, say } = this.#options;
    const { signal } = this.#stopping;
    const headers: Record<string, string> = this.#seen === undefined ? {} : { "if-none-match": this.#seen };
    const wait = this.#seen === undefined ? 0 : WAIT_S;
    const path = `/dev/server/${identity.serverId}/state?wait=${wait}`;
    // What we are is told before what we are to do is asked: the wish depends on it. So is what could not
    // be told when it happened.
    if (!this.#told) await this.#report();
    const reply = await this.#client.json("GET", path, undefined, { headers, signal });
    if (reply.status === 304) return;
    if (reply.status !== 200) throw new Error(refusalOf(reply));
    const wish = readWish(reply.body);
    try {
      await this.#bring(wish);
      await this.#adopt(wish);
      this.#tried = wish.Version;
      this.#options.folder.keepGood(wish);
      this.#options.folder.keepOnly([wish]);
      this.#fault = null;
      this.#failed = [];
      say(`runs what is wanted (${wish.Version})`);
    } catch (error) {
      if (signal.aborted) return;
      // D. It was not seen to its end, so it is told again.
      if (isAway(error)) throw error;
      // A
      this.#tried = wish.Version;
      this.#fault = (error as Error).message;
      const ours = new Set(wish.Desired.Devices.map(({ UUID }) => UUID));
      this.#failed = error instanceof RunFault ? error.devices.filter((uuid) => ours.has(uuid)) : [];
      say(`goes on as before: ${this.#fault}`);
    }
    this.#seen = reply.headers.etag;
    this.#told = false;
    await this.#report();
  }

  async #bring({ Manifest }: Wish): Promise<void> {
    const { folder } = this.#options;
    const { signal } = this.#stopping;
    const unknown = Manifest.Artefacts.some(({ KeyID }) => !this.#keys.has(KeyID));
    if (unknown) this.#keys = await fetchKeys(this.#client);
    for (const artifact of Manifest.Artefacts)
      await provide({ client: this.#client, folder, keys: this.#keys, signal }, artifact);
  }

  /** The trial is in a runner of its own, beside the one that goes on working, or in place of one that is gone. */
  async #adopt(wish: Wish, gone?: Runner): Promise<void> {
    const { folder, threads, walls } = this.#options;
    const artifacts = wish.Manifest.Artefacts.map((artifact) => ({
      artifact,
      path: folder.artifactPath(artifact.SHA256),
    }));
    const runner = new Runner({ walls, artifacts: artifacts.map(({ path }) => path) });
    try {
      const devices = wish.Desired.Devices.map(({ UUID, Pipelines }) => ({ UUID, Pipelines }));
      await runner.load({ artifacts, devices, threads }, TRIAL_MS);
    } catch (error) {
      runner.end();
      throw error;
    }
    const before = this.#running;
    // Meanwhile a later wish came, or the end.
    if ((gone !== undefined && before?.runner !== gone) || this.#stopping.signal.aborted) {
      runner.end();
      return;
    }
    const everyMs = this.#telemetryMs();
    this.#running = { wish, runner };
    if (this.#telemetryMs() !== everyMs) this.#telemetry?.change();
    before?.runner.end();
  }

  /** In the words in which it was wanted, so that what is missing can be told from it. */
  #reported(): Record<string, unknown> {
    if (this.#running === null) return {};
    const { Settings = {}, Devices } = this.#running.wish.Desired;
    const versions = Devices.map(({ UUID, PipelinesVersion }) => [UUID, PipelinesVersion]);
    return { Runtime: RUNTIME, Settings, Devices: Object.fromEntries(versions) };
  }

  async #report(): Promise<void> {
    const { identity, version, runtimeVersion } = this.#options;
    const runtime = { Name: RUNTIME, Version: runtimeVersion, Targets: TARGETS };
    const reply = await this.#client.json("PUT", `/dev/server/${identity.serverId}/reported`, {
      Version: this.#running?.wish.Version ?? 0,
      ...(this.#tried !== undefined && { Tried: this.#tried }),
      ...(this.#failed.length > 0 && { FailedDevices: this.#failed }),
      Health: this.#fault === null ? "ok" : "degraded",
      Errors: this.#fault === null ? [] : [this.#fault.slice(0, 1000)],
      Reported: this.#reported(),
      Facts: {
        ...{ Version: version, AIPluginVersion: version, Runtime: runtime, AvailableRuntimes: [runtime] },
        ...{ Preprocessors: [], Postprocessors: [], Supports: { Pipelines: true } },
      },
    });
    if (reply.status !== 200) throw new Error(refusalOf(reply));
    this.#told = true;
  }
}
