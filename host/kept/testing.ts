// SPDX-License-Identifier: Apache-2.0
/** The kept half of a host with a driver whose machines are small HTTP servers, a clock of its own, and control's ear. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import type { Desired, Observation } from "#contract/link/machine.ts";
import type { ComposePayload } from "#contract/link/payload.ts";
import type { KeptDriver } from "#drivers/kept-driver.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type KeptOptions, KeptReconciler, type KeptRoute } from "./reconcile.ts";
import { KeptStore } from "./store.ts";

export const newId = () => `mach_${randomBytes(16).toString("hex")}`;

export const wish = (machineId: string, change: Partial<Desired> = {}): Desired => ({
  ...{ machineId, generation: 1, want: "up", incarnation: 1, remainingMs: null, trigger: "api" },
  spec: {
    ...{ isolation: "container", image: null, cpuMillis: 1000, memoryMiB: 512, pidsMax: 100 },
    ...{ network: "own", endProof: null },
    kept: { diskMiB: 1024, labels: {}, domains: [`${machineId.slice(5, 13)}.example`] },
  },
  ...change,
});

export const payload = (image = "caddy:2"): ComposePayload => ({
  ...{ kind: "compose", env: {}, files: {}, registries: [], publicService: "api", publicPort: 80 },
  compose: JSON.stringify({ services: { api: { image } } }),
});

/** With a driver that is not the fake one, what the fake one can do is not to be asked for. */
export class KeptBench {
  readonly folder = mkdtempSync(join(tmpdir(), "casemate-kept-"));
  readonly driver = new FakeKeptDriver();
  readonly logged: string[] = [];
  readonly ids = new Set<string>();
  said: Observation[] = [];
  routes: KeptRoute[] = [];
  host: KeptReconciler;
  readonly #more: Partial<KeptOptions>;
  readonly #real: KeptDriver | null;
  #nowMs = 1_000;

  constructor(more: Partial<KeptOptions> = {}, real: KeptDriver | null = null) {
    this.#more = more;
    this.#real = real;
    this.host = this.#open();
  }

  /** As a new process of the same host. One that was killed has ended nothing. */
  async restart({ killed = false } = {}): Promise<void> {
    if (!killed) await this.host.close();
    this.host = this.#open();
    await this.host.adopt();
  }

  async up(id = newId()): Promise<string> {
    this.ids.add(id);
    this.host.accept([wish(id)], false);
    await this.sees(id, "starting");
    this.host.give(id, 1, payload());
    await this.sees(id, "running");
    return id;
  }

  sees(machineId: string, state: Observation["state"], incarnation = 1): Promise<void> {
    return expect
      .poll(() => this.said.findLast((one) => one.machineId === machineId), { timeout: 3_000 })
      .toMatchObject({ state, incarnation }) as Promise<unknown> as Promise<void>;
  }

  /** Time goes by at once; whoever waits for it looks again. */
  pass(ms: number): void {
    this.#nowMs += ms;
    for (const id of this.ids) {
      const desired = this.host.find(id)?.machine.desired;
      if (desired !== undefined) this.host.accept([desired], false);
    }
  }

  /** Lets everything that needs no time be done. */
  async turn(): Promise<void> {
    await sleep(5);
  }

  portOf(id: string): number {
    return (this.driver.running.get(id)!.server.address() as { port: number }).port;
  }

  async close(): Promise<void> {
    this.driver.away = false;
    await this.host.close();
    for (const id of [...this.driver.running.keys()]) await this.driver.remove(id);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #open(): KeptReconciler {
    return new KeptReconciler({
      store: new KeptStore(join(this.folder, "kept")),
      drivers: [this.#real ?? this.driver],
      report: (observation) => void this.said.push(observation),
      certify: async () => "",
      onRoutes: (now) => {
        this.routes = now;
      },
      refusal: (_, others) => (others.length >= 3 ? "no room" : undefined),
      log: (event) => void this.logged.push(event),
      clock: () => this.#nowMs,
      ...this.#more,
    });
  }
}
