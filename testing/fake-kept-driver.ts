// SPDX-License-Identifier: Apache-2.0
/**
 * A kept driver whose machines are real HTTP servers on loopback that answer with what they were
 * given, so that a surface and the ingress can be tried without a container engine. What it cannot
 * show, containment above all, is the conformance suite's (drivers/conformance/kept-suite.ts).
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { ComposePayload, Payload } from "#contract/link/payload.ts";
import { DriverFault } from "#drivers/driver.ts";
import type {
  ContainerFacts,
  EgressFacts,
  Endpoint,
  KeptChange,
  KeptDriver,
  KeptRecord,
  KeptStart,
  KeptState,
  LogsAsk,
  MachineStats,
} from "#drivers/kept-driver.ts";

interface Running {
  server: Server;
  payload: ComposePayload;
  spec: MachineSpec;
  starts: number;
}

export class FakeKeptDriver implements KeptDriver {
  readonly isolation: KeptDriver["isolation"] = "container";
  readonly running = new Map<string, Running>();
  /** Machines that were halted, whose disk is still there. */
  readonly disks = new Set<string>();
  /** What its machines are said to have sent. */
  readonly sent = new Map<string, Omit<EgressFacts, "machineId">>();
  /** An engine that is away: nothing can be started, ended or found. */
  away = false;
  #onChange: (machineId: string, change: KeptChange) => void = () => {};
  #starts = 0;

  async probe() {
    return { ready: true, missing: null };
  }

  async answers() {
    return !this.away;
  }

  async start(machineId: string, spec: MachineSpec, payload: Payload, hooks: KeptStart) {
    this.#requireEngine();
    if (payload.kind !== "compose") throw new DriverFault("machine.start-failed", "not a compose document");
    await this.#end(machineId);
    const record: KeptRecord = { fake: true };
    await hooks.onRecord(record);
    hooks.onProgress("starting");
    const { services } = JSON.parse(payload.compose) as { services: Record<string, { image: string }> };
    for (const [service, { image }] of Object.entries(services))
      hooks.onImage({ service, reference: image, digest: `${image.split(":")[0]}@sha256:${"0".repeat(64)}` });
    // The word by which a test asks for a start that fails.
    if (Object.values(services).some(({ image }) => image.startsWith("broken")))
      throw new DriverFault("machine.start-failed", "service broken exited with 1");
    // And for one that takes its time, as a service that waits for others does.
    if (Object.values(services).some(({ image }) => image.startsWith("slow")))
      await sleep(1_500, undefined, { signal: hooks.signal });
    const starts = ++this.#starts;
    const server = createServer((request, response) => {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ hi: "foo", path: request.url, env: payload.env, starts }));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    this.running.set(machineId, { server, payload, spec, starts });
    this.disks.add(machineId);
    return { record, endpoint: this.#endpoint(server) };
  }

  async halt(machineId: string): Promise<void> {
    this.#requireEngine();
    await this.#end(machineId);
  }

  async remove(machineId: string): Promise<void> {
    await this.#end(machineId);
    this.disks.delete(machineId);
  }

  async find(machineId: string): Promise<{ state: KeptState; endpoint: Endpoint | null }> {
    this.#requireEngine();
    const running = this.running.get(machineId);
    if (running) return { state: "running", endpoint: this.#endpoint(running.server) };
    return { state: this.disks.has(machineId) ? "halted" : "gone", endpoint: null };
  }

  async containers(machineId: string): Promise<ContainerFacts[]> {
    const { services } = JSON.parse(this.#require(machineId).payload.compose) as {
      services: Record<string, { image: string }>;
    };
    return Object.entries(services).map(([name, { image }]) => ({
      names: [name],
      image,
      imageId: "sha256:0",
      state: "running",
    }));
  }

  async *logs(machineId: string, ask: LogsAsk): AsyncGenerator<string> {
    const { starts, payload } = this.#require(machineId);
    const { services } = JSON.parse(payload.compose) as { services: object };
    if (ask.container !== null && !Object.hasOwn(services, ask.container))
      throw new DriverFault("machine.no-container", "the machine has no container of that name");
    if (ask.since !== undefined && Number.isNaN(Date.parse(ask.since)))
      throw new DriverFault("request.invalid", "since is not a time");
    const lines = [`start ${starts}`, `log of ${ask.container ?? "the machine"}`, "last"];
    yield* ask.tail ? lines.slice(-ask.linesMax) : lines.slice(0, ask.linesMax);
    if (ask.follow && !ask.signal.aborted)
      await new Promise((resolve) => ask.signal.addEventListener("abort", resolve, { once: true }));
  }

  async stats(machineId: string): Promise<MachineStats> {
    const { spec } = this.#require(machineId);
    return {
      memory: { totalBytes: spec.memoryMiB * 1024 * 1024, usedBytes: 1024 },
      cpus: [{ name: "cpu0", usage: 1, frequencyMhz: 1000 }],
      disks: [],
    };
  }

  async egress(): Promise<EgressFacts[]> {
    return [...this.sent].map(([machineId, facts]) => ({ machineId, ...facts }));
  }

  onChange(listener: (machineId: string, change: KeptChange) => void): void {
    this.#onChange = listener;
  }

  /** What a container does that ends by itself. */
  async die(machineId: string, detail: string): Promise<void> {
    await this.#end(machineId);
    this.#onChange(machineId, { state: "halted", detail });
  }

  /** Its public service ends for good, and the rest of it runs on. */
  end(machineId: string, detail: string): void {
    this.#onChange(machineId, { state: "halted", detail });
  }

  /** The public service is down, and whoever restarts it has not yet. */
  async fall(machineId: string, detail: string): Promise<void> {
    await new Promise((resolve) => {
      this.#require(machineId).server.close(resolve);
      this.#require(machineId).server.closeAllConnections();
    });
    this.#onChange(machineId, { state: "restarting", detail });
  }

  /** It is back, at another port. */
  async rise(machineId: string): Promise<void> {
    const { server } = this.#require(machineId);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    this.#onChange(machineId, { state: "running", detail: "back", endpoint: this.#endpoint(server) });
  }

  /** A part of it died that is not the public service. */
  lose(machineId: string, detail: string): void {
    this.#onChange(machineId, { state: "running", detail });
  }

  /** The engine goes, and takes every machine with it; `back` is when it answers again. */
  async crash(): Promise<void> {
    this.away = true;
    for (const id of [...this.running.keys()]) await this.#end(id);
  }

  back(machines: readonly string[]): void {
    this.away = false;
    for (const id of machines) this.#onChange(id, { state: "interrupted", detail: "ended with the engine" });
  }

  async list(): Promise<Set<string>> {
    this.#requireEngine();
    return new Set(this.disks);
  }

  async reap(keep: ReadonlySet<string>): Promise<number> {
    const strangers = [...this.disks].filter((id) => !keep.has(id));
    for (const id of strangers) await this.remove(id);
    return strangers.length;
  }

  async close(): Promise<void> {}

  #requireEngine(): void {
    if (this.away) throw new DriverFault("host.not-ready", "the engine does not answer");
  }

  #require(machineId: string): Running {
    const running = this.running.get(machineId);
    if (!running) throw new DriverFault("machine.not-running", "the machine is not running");
    return running;
  }

  #endpoint(server: Server): Endpoint {
    return { host: "127.0.0.1", port: (server.address() as AddressInfo).port };
  }

  async #end(machineId: string): Promise<void> {
    const running = this.running.get(machineId);
    this.running.delete(machineId);
    running?.server.closeAllConnections();
    if (running) await new Promise((resolve) => running.server.close(resolve));
  }
}
