// SPDX-License-Identifier: Apache-2.0
/**
 * Containers that are machines to those in them, kept as virtual machines are (qemu/machines.ts, whose letters A to C hold here, too):
 * our agent is their first process, with an SSH server, users, a network and limits of their own, and the host's kernel.
 *
 *   network ─▶ root, mounted by launch.pl ─▶ runtime ─▶ agent on its port ─▶ running
 *
 *  A. Operations on one container run one after the other. `halt` and `remove` call off a start.
 *  B. The note says `starting` before anything is made and `running` when the agent answered.
 *  C. Nothing in this process's memory is needed to end one: its note, cgroups, marks and folder name it.
 *  D. The container is its first process: when that ends, the kernel ends all others and gives back every mount.
 *  E. Whose host it is sees all of it. Nothing here is evidence, and the port's `attested` answers that there is none.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { MachineSpec } from "#contract/link/machine.ts";
import { type Guest, GuestLate, greetGuest } from "#guest/client.ts";
import { listCgroups, removeCgroups } from "../docker/cgroup-parent.ts";
import { machineLines } from "../docker/logs.ts";
import { MACHINE_ID, OWNER } from "../docker/marks.ts";
import { Notes } from "../docker/notes.ts";
import { runProgram } from "../docker/program.ts";
import { DriverFault } from "../driver.ts";
import type {
  DiskPart,
  EgressFacts,
  Endpoint,
  KeptChange,
  KeptProbe,
  KeptRecord,
  KeptState,
  LogsAsk,
  MachineStats,
} from "../kept-driver.ts";
import { readConsole } from "../qemu/conversation.ts";
import type { GuestAsk, GuestMachines } from "../qemu/guest-machines.ts";
import type { StartedVm, VmHooks } from "../qemu/machines.ts";
import type { AddressPool } from "../qemu/network/addresses.ts";
import { type OpenDoors, openDoors } from "../qemu/network/doors.ts";
import { type KeptRules, keepRules } from "../qemu/network/keep-rules.ts";
import { Meters } from "../qemu/network/meters.ts";
import type { Meter } from "../qemu/network/rules.ts";
import type { TapAsk, Taps } from "../qemu/network/taps.ts";
import type { VmNetwork } from "../qemu/note.ts";
import { findClosedFolder } from "../qemu/place.ts";
import { isRunning, knownOf, startProgram } from "../qemu/processes.ts";
import { connectSoon } from "../qemu/sockets.ts";
import { endProcesses } from "../sandbox/recover.ts";
import { UidPool } from "../sandbox/uids.ts";
import { Turns } from "../turns.ts";
import { bundleOf, USERS } from "./bundle.ts";
import type { ContainerNote } from "./note.ts";
import { type ContainerPlace, emptyPlace, listPlaces, makePlace, placeOf, preparePlaces } from "./place.ts";
import { listMarked, processesOf } from "./processes.ts";
import { containerStats } from "./stats.ts";

export interface ContainerOptions {
  /** The driver's own; every uid of a container passes through it. Short, since sockets are below it. */
  folder: string;
  owner: string;
  /** An OCI runtime: crun or runc. */
  runtime: string;
  /** Ranges of `USERS` each, the first of which begins at `base`. */
  users: { base: number; ranges: number };
  /** Null: there are none, and nothing is started. */
  networks: { taps: Taps; addresses: AddressPool } | null;
  answerMs: number;
  bootMs: number;
  shutdownMs: number;
}

const LAUNCH = new URL("launch.pl", import.meta.url).pathname;
const ASK_MS = 5_000;
const LOOK_EVERY_MS = 20;
const RULES_LOOK_MS = 5_000;
const METERS_LOOK_MS = 5_000;
const END_MS = 500;
/** Of its memory, for what is written. */
const WRITTEN_SHARE = 0.5;
const CGROUPS = { driver: "cgroupfs", version: 1 } as const;

interface Live {
  guest: Guest;
  close(): void;
}

export class SystemContainers implements GuestMachines {
  readonly #options: ContainerOptions;
  readonly #notes: Notes<ContainerNote>;
  readonly #consoles: Notes;
  readonly #users: UidPool;
  readonly #turns = new Turns();
  readonly #starts = new Map<string, Set<AbortController>>();
  readonly #live = new Map<string, Live>();
  readonly #doors = new Map<string, OpenDoors>();
  readonly #listeners: ((machineId: string, change: KeptChange) => void)[] = [];
  readonly #end = new AbortController();
  readonly #rules: KeptRules;
  readonly #meters: Meters;

  constructor(options: ContainerOptions) {
    if (!OWNER.test(options.owner))
      throw new TypeError("owner must be a short name of a-z, 0-9, dot and dash");
    this.#options = options;
    preparePlaces(options.folder);
    this.#notes = new Notes(options.folder);
    this.#consoles = new Notes(`${options.folder}/consoles`);
    this.#users = new UidPool({ base: 0, count: options.users.ranges });
    this.#meters = new Meters({
      ...{ folder: join(options.folder, "egress"), everyMs: METERS_LOOK_MS },
      taps: () => options.networks?.taps ?? null,
    });
    this.#rules = keepRules({
      taps: { ruled: async () => (await options.networks?.taps.ruled()) ?? new Set() },
      everyMs: RULES_LOOK_MS,
      machines: () => this.#live.keys(),
      restore: (id) => this.#restoreRules(id),
    });
  }

  async probe(): Promise<KeptProbe> {
    const { folder, runtime, networks } = this.#options;
    const missing = (text: string): KeptProbe => ({ ready: false, missing: text });
    if (networks === null)
      return missing("system containers need root and nftables, for networks of their own");
    const ran = await runProgram([runtime, "--version"], { timeoutMs: ASK_MS }).catch(() => null);
    if (ran?.code !== 0) return missing(`no runtime answers at ${runtime}: apt-get install -y runc`);
    const closed = findClosedFolder(folder);
    if (closed !== null)
      return missing(`containers have users of their own, which cannot pass ${closed}: chmod o+x ${closed}`);
    const lacking = await networks.taps.missing("wire");
    return lacking === null ? { ready: true, missing: null } : missing(lacking);
  }

  /** E */
  async endorsers(): Promise<string[]> {
    return [];
  }

  async start(machineId: string, spec: MachineSpec, ask: GuestAsk, hooks: VmHooks): Promise<StartedVm> {
    const own = new AbortController();
    const others = this.#starts.get(machineId) ?? new Set();
    this.#starts.set(machineId, others.add(own));
    const signal = AbortSignal.any([hooks.signal, own.signal, this.#end.signal]);
    try {
      return await this.#inTurn(machineId, async (place) => {
        const record = { v: 1, driver: "system-container", owner: this.#options.owner };
        signal.throwIfAborted();
        await hooks.onRecord(record);
        await this.#endAll(machineId, place, 0);
        const network = this.#takeNetwork(machineId, spec, ask);
        const note: ContainerNote = {
          ...{ v: 1, phase: "starting", init: null, network, firstUid: this.#takeUsers(machineId) },
          cpus: Math.max(1, Math.ceil(spec.cpuMillis / 1000)),
          memoryMiB: spec.memoryMiB,
        };
        this.#notes.write(machineId, note);
        try {
          const guest = await this.#run(machineId, { place, note, spec, ask, hooks, signal });
          return { record, endpoint: endpointOf(note), network, guest };
        } catch (error) {
          await this.#endAll(machineId, place, 0);
          if (error instanceof DriverFault && !signal.aborted) throw error;
          const cause = signal.aborted ? signal.reason : error;
          throw new DriverFault(
            cause instanceof GuestLate ? "machine.boot-timeout" : "machine.start-failed",
            cause instanceof Error ? cause.message : String(cause),
            {
              cause,
            },
          );
        }
      });
    } finally {
      others.delete(own);
      if (others.size === 0) this.#starts.delete(machineId);
    }
  }

  async #run(machineId: string, run: Run): Promise<Guest> {
    const { place, note, spec, ask, hooks, signal } = run;
    const { owner, runtime, bootMs } = this.#options;
    const taps = this.#options.networks!.taps;
    const network = note.network!;
    const firstUid = note.firstUid!;
    const { memoryMiB, cpuMillis, pidsMax } = spec;
    const config = bundleOf({
      ...{ owner, machineId, root: place.root, launchSha256: ask.launchSha256, firstUid },
      ...{ memoryMiB, cpuMillis, pidsMax, network: taps.namespaceOf(machineId) },
    });
    makePlace(place, join(ask.image.folder, "initrd"), config);
    hooks.onProgress("making the machine's network");
    const limit = network.egressLimitBytes;
    const known = ask.sent ?? { sentBytes: 0, cut: false };
    const meter = limit === undefined ? undefined : this.#meters.begin(machineId, limit, known);
    await taps.make(machineId, tapAsk(network, meter), "wire");
    this.#doors.set(machineId, await openDoors(network.addresses, network.doors, network.nameServers.door));
    signal.throwIfAborted();
    hooks.onProgress("starting the container");
    this.#notes.log(machineId, "starting");
    const written = Math.max(1, Math.floor(memoryMiB * WRITTEN_SHARE));
    const child = startProgram({
      program: "perl",
      words: [
        ...[LAUNCH, join(ask.image.folder, "root.img"), place.folder, String(firstUid), String(USERS)],
        ...[String(written), place.agent, runtime, "--root", place.state, "--log", place.log, "run"],
        ...["--detach", "--pid-file", place.pid, "--bundle", place.folder, "--preserve-fds", "2", machineId],
      ],
      ...{ owner, machineId, uid: null, groups: [], cgroupFiles: [] },
    });
    let words = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      words = (words + text).slice(-2_000);
    });
    const code = await new Promise<number | string | null>((resolve) => {
      const late = () => {
        child.kill("SIGKILL");
        resolve("it was not wanted any more, or took too long");
      };
      AbortSignal.any([signal, AbortSignal.timeout(bootMs)]).addEventListener("abort", late, { once: true });
      child.once("error", (error) => resolve(error.message));
      child.once("close", (status, by) => resolve(status ?? by));
    });
    if (code !== 0) {
      const why = lastWords(words) || lastWords(readIfThere(place.log));
      throw new DriverFault("machine.start-failed", `the container was not started (${code}): ${why}`);
    }
    const init = knownOf(Number(readFileSync(place.pid, "utf8")));
    if (init === null)
      throw new DriverFault("machine.start-failed", "the container ended as soon as it was started");
    const started = { ...note, init };
    this.#notes.write(machineId, started);
    hooks.onProgress("booting");
    const live = await this.#converse(
      machineId,
      place,
      AbortSignal.any([signal, AbortSignal.timeout(bootMs)]),
    );
    this.#notes.write(machineId, { ...started, phase: "running" });
    this.#notes.log(machineId, "running");
    this.#watch(machineId, place, live);
    return live.guest;
  }

  async #converse(machineId: string, place: ContainerPlace, signal: AbortSignal): Promise<Live> {
    const console = await connectSoon(place.sockets.console, signal);
    readConsole(console, (lines) => this.#consoles.logAll(machineId, lines));
    try {
      const port = await connectSoon(place.sockets.guest, signal);
      const guest = await greetGuest(port, { timeoutMs: this.#options.bootMs, signal });
      const close = () => {
        guest.close();
        console.destroy();
      };
      const live = { guest, close };
      this.#live.set(machineId, live);
      return live;
    } catch (error) {
      console.destroy();
      throw error;
    }
  }

  /** D. Its port is lost with it. One that still runs and is mute is whose driver it is to end. */
  #watch(machineId: string, place: ContainerPlace, live: Live): void {
    const isOver = () => this.#live.get(machineId) !== live || this.#end.signal.aborted;
    void live.guest.closed.then(async () => {
      const deadlineMs = performance.now() + END_MS;
      while (isRunning(this.#notes.read(machineId)?.init ?? null) && performance.now() < deadlineMs)
        await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
      if (isOver() || isRunning(this.#notes.read(machineId)?.init ?? null)) return;
      await this.#inTurn(machineId, async () => {
        if (isOver()) return;
        await this.#endAll(machineId, place, 0);
        const change: KeptChange = { state: "interrupted", detail: "the container has ended" };
        this.#notes.log(machineId, change.detail);
        for (const listener of this.#listeners) listener(machineId, change);
      });
    });
  }

  async halt(machineId: string, _record: KeptRecord | null): Promise<void> {
    this.#callOff(machineId);
    await this.#inTurn(machineId, async (place) => {
      await this.#endAll(machineId, place, this.#options.shutdownMs);
      if (this.#notes.read(machineId) !== null) this.#notes.log(machineId, "halted");
    });
  }

  async end(machineId: string): Promise<void> {
    await this.#inTurn(machineId, (place) => this.#endAll(machineId, place, 0));
  }

  say(machineId: string, text: string): void {
    checkId(machineId);
    this.#notes.log(machineId, text);
  }

  async remove(machineId: string, _record: KeptRecord | null): Promise<void> {
    this.#callOff(machineId);
    await this.#inTurn(machineId, async (place) => {
      await this.#endAll(machineId, place, 0);
      this.#meters.remove(machineId);
      this.#consoles.remove(machineId);
      this.#notes.remove(machineId);
    });
  }

  async find(
    machineId: string,
    _record: KeptRecord,
  ): Promise<{ state: KeptState; endpoint: Endpoint | null }> {
    return this.#inTurn(machineId, async (place) => {
      const note = this.#notes.read(machineId);
      if (note?.phase === "running" && isRunning(note.init)) {
        if (this.#live.has(machineId) || (await this.#adopt(machineId, place))) {
          // Rules may have been lost, and doors ended with the process that held them.
          await this.#reconnect(machineId, note);
          return { state: "running", endpoint: endpointOf(note) };
        }
      }
      if (note?.phase !== "halted") await this.#endAll(machineId, place, 0);
      return { state: note === null ? "gone" : "halted", endpoint: null };
    });
  }

  async #adopt(machineId: string, place: ContainerPlace): Promise<boolean> {
    const signal = AbortSignal.any([this.#end.signal, AbortSignal.timeout(this.#options.answerMs)]);
    try {
      this.#watch(machineId, place, await this.#converse(machineId, place, signal));
      return true;
    } catch (error) {
      if (this.#end.signal.aborted) throw error;
      this.#notes.log(machineId, "what runs does not answer as this machine, and is ended");
      return false;
    }
  }

  /** What is written is memory; there is no disk to be carried anywhere. */
  async readDisk(): Promise<AsyncIterable<DiskPart>> {
    throw new DriverFault("host.not-ready", "a system container has no disk");
  }

  async writeDisk(): Promise<void> {
    throw new DriverFault("host.not-ready", "a system container has no disk");
  }

  async guest(machineId: string): Promise<Guest> {
    const live = this.#live.get(machineId);
    if (live === undefined) throw new DriverFault("machine.not-running", "this host runs no such machine");
    return live.guest;
  }

  logs(machineId: string, ask: LogsAsk): AsyncIterable<string> {
    checkId(machineId);
    const followed = { ...ask, signal: AbortSignal.any([ask.signal, this.#end.signal]) };
    if (ask.container === null) return machineLines(this.#notes, machineId, followed);
    if (ask.container === "console") return machineLines(this.#consoles, machineId, followed);
    throw new DriverFault("machine.no-container", "the machine has no container of that name");
  }

  async stats(machineId: string): Promise<MachineStats> {
    checkId(machineId);
    const note = this.#notes.read(machineId);
    if (note === null) throw new DriverFault("machine.not-running", "this host has no such machine");
    return containerStats(this.#options.owner, machineId, note);
  }

  egress(): Promise<EgressFacts[]> {
    return this.#meters.readings();
  }

  onChange(listener: (machineId: string, change: KeptChange) => void): void {
    this.#listeners.push(listener);
  }

  async list(): Promise<Set<string>> {
    const { owner, folder, networks } = this.#options;
    const named = [...listMarked(owner), ...listCgroups(CGROUPS, owner)];
    return new Set([
      ...named.filter((id) => MACHINE_ID.test(id)),
      ...((await networks?.taps.list()) ?? []),
      ...[...listPlaces(folder), ...this.#notes.list(), ...this.#consoles.list(), ...this.#meters.list()],
    ]);
  }

  /** Containers run on; only this process's part in them ends. */
  async close(): Promise<void> {
    this.#end.abort(new Error("the host is stopping"));
    this.#rules.close();
    this.#meters.close();
    for (const live of this.#live.values()) live.close();
    for (const doors of this.#doors.values()) doors.close();
    this.#live.clear();
    await this.#turns.settled();
  }

  async #endAll(machineId: string, place: ContainerPlace, shutdownMs: number): Promise<void> {
    const { owner, networks } = this.#options;
    const note = this.#notes.read(machineId);
    const live = this.#live.get(machineId);
    this.#live.delete(machineId);
    if (shutdownMs > 0 && note !== null && isRunning(note.init)) {
      this.#notes.log(machineId, "asked to shut down");
      await this.#shutDown(machineId, place, note, live ?? null, shutdownMs);
    }
    live?.close();
    if ((await endProcesses(() => processesOf(owner, machineId, note?.init ?? null))) === null)
      throw new DriverFault("machine.start-failed", "a process of the machine does not end");
    await removeCgroups(CGROUPS, owner, machineId);
    this.#doors.get(machineId)?.close();
    this.#doors.delete(machineId);
    if (networks !== null) await this.#meters.settle(machineId);
    await networks?.taps.remove(machineId);
    if (note?.network != null) networks?.addresses.give(note.network.addresses);
    if (note?.firstUid != null) this.#users.give(this.#rangeOf(note.firstUid));
    emptyPlace(place);
    if (note !== null)
      this.#notes.write(machineId, { ...note, phase: "halted", init: null, firstUid: null, network: null });
  }

  async #shutDown(
    machineId: string,
    place: ContainerPlace,
    { init }: ContainerNote,
    known: Live | null,
    shutdownMs: number,
  ): Promise<void> {
    const late = AbortSignal.timeout(shutdownMs);
    const live = known ?? (await this.#converse(machineId, place, late).catch(() => null));
    this.#live.delete(machineId);
    if (live === null) return;
    const asked = await live.guest.ask("shutdown", {}, { timeoutMs: ASK_MS }).catch(() => null);
    while (asked !== null && isRunning(init) && !late.aborted)
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    if (isRunning(init)) this.#notes.log(machineId, "did not shut down in time, and is ended");
    live.close();
  }

  #takeNetwork(machineId: string, { kept }: MachineSpec, { network, publicPort }: GuestAsk): VmNetwork {
    const { networks } = this.#options;
    if (networks === null || network === null)
      throw new DriverFault("machine.start-failed", "a system container needs a network of its own");
    const used = this.#otherNotes(machineId).flatMap((note) => note.network?.addresses.guest ?? []);
    const limit = kept?.egressLimitBytes;
    return {
      ...{ addresses: networks.addresses.take(new Set(used)), ...network, publicPort },
      ...(limit !== undefined && { egressLimitBytes: limit }),
    };
  }

  #takeUsers(machineId: string): number {
    const used = new Set(this.#otherNotes(machineId).flatMap(({ firstUid }) => firstUid ?? []));
    const take = (): number => {
      const range = this.#users.take();
      const first = this.#options.users.base + range * USERS;
      return used.has(first) ? take() : first;
    };
    return take();
  }

  #rangeOf(firstUid: number): number {
    return (firstUid - this.#options.users.base) / USERS;
  }

  async #reconnect(machineId: string, { network }: ContainerNote): Promise<void> {
    if (network === null || this.#options.networks === null) return;
    const limit = network.egressLimitBytes;
    const meter = limit === undefined ? undefined : this.#meters.resume(machineId, limit);
    await this.#options.networks.taps.protect(machineId, tapAsk(network, meter));
    if (this.#doors.has(machineId)) return;
    this.#doors.set(machineId, await openDoors(network.addresses, network.doors, network.nameServers.door));
  }

  async #restoreRules(machineId: string): Promise<void> {
    await this.#inTurn(machineId, async () => {
      const note = this.#notes.read(machineId);
      if (note === null || !this.#live.has(machineId) || this.#end.signal.aborted) return;
      await this.#reconnect(machineId, note);
      this.#notes.log(machineId, "the rules of its network were gone from the host, and are there again");
    });
  }

  #callOff(machineId: string): void {
    for (const start of this.#starts.get(machineId) ?? []) start.abort(new Error("called off"));
  }

  #otherNotes(machineId: string): ContainerNote[] {
    const others = this.#notes.list().filter((id) => id !== machineId);
    return others.flatMap((id) => this.#notes.read(id) ?? []);
  }

  /** A */
  async #inTurn<T>(machineId: string, work: (place: ContainerPlace) => Promise<T>): Promise<T> {
    checkId(machineId);
    return this.#turns.run(machineId, () => work(placeOf(this.#options.folder, machineId)));
  }
}

interface Run {
  place: ContainerPlace;
  note: ContainerNote;
  spec: MachineSpec;
  ask: GuestAsk;
  hooks: VmHooks;
  signal: AbortSignal;
}

const endpointOf = ({ network }: ContainerNote): Endpoint | null =>
  network?.publicPort == null ? null : { host: network.addresses.guest, port: network.publicPort };

const tapAsk = ({ addresses, doors, nameServers }: VmNetwork, meter: Meter | undefined): TapAsk => ({
  meter,
  addresses,
  doors: doors.map(({ port }) => port),
  dnsDoor: nameServers.door !== null,
  nameServers: nameServers.direct,
});

const readIfThere = (path: string) => (existsSync(path) ? readFileSync(path, "utf8") : "");
const lastWords = (text: string) => text.trim().split("\n").at(-1)!.slice(0, 300);

function checkId(machineId: string): void {
  if (!MACHINE_ID.test(machineId)) throw new TypeError("not a machine id");
}
