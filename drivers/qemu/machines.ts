// SPDX-License-Identifier: Apache-2.0
/**
 * Virtual machines that are kept: they run on when this process ends, and another finds them. Of the port of
 * kept machines (kept-driver.ts, whose letters are meant below as "port A") this is everything but what runs
 * inside: a caller gets the guest's end of its port, and asks it.
 *
 *   starting ─▶ running ─▶ halted ─▶ starting …
 *
 *  A. Operations on one machine run one after the other. `halt` and `remove` call off a start.
 *  B. The note says `starting` before anything is made and `running` when the guest answered. So a kill at
 *     any moment leaves a machine that is either found running or is half a start, which `find` ends.
 *  C. Nothing in this process's memory is needed to end a machine: notes, marks, cgroups and folders name it.
 *  D. A QEMU whose control socket is closed, or that says what no QEMU says, is ended: nobody could command it.
 */
import type { MachineSpec } from "#contract/link/machine.ts";
import { type Guest, GuestLate } from "#guest/client.ts";
import { PORT_NAME } from "#guest/protocol.ts";
import { readDiskFile, writeDiskFile } from "../disk-file.ts";
import { machineLines } from "../docker/logs.ts";
import { MACHINE_ID, OWNER } from "../docker/marks.ts";
import { Notes } from "../docker/notes.ts";
import { runProgram } from "../docker/program.ts";
import { DriverFault } from "../driver.ts";
import { findHostPort } from "../host-port.ts";
import type {
  DiskPart,
  EgressFacts,
  Endpoint,
  KeptChange,
  KeptDriver,
  KeptProbe,
  KeptRecord,
  KeptState,
  LogsAsk,
  MachineStats,
} from "../kept-driver.ts";
import { type Cgroups, findCgroups, removeTree } from "../sandbox/cgroups.ts";
import { endProcesses } from "../sandbox/recover.ts";
import { UidPool } from "../sandbox/uids.ts";
import { Turns } from "../turns.ts";
import { type Conversation, openConversation } from "./conversation.ts";
import { commandLine } from "./launch.ts";
import type { AddressPool } from "./network/addresses.ts";
import { type OpenDoors, openDoors } from "./network/doors.ts";
import { type KeptRules, keepRules } from "./network/keep-rules.ts";
import { Meters } from "./network/meters.ts";
import type { Carried, Meter } from "./network/rules.ts";
import { inNamespace, type Metered, TAP_DESCRIPTOR, type TapAsk, type Taps } from "./network/taps.ts";
import type { VmNetwork, VmNote } from "./note.ts";
import {
  emptyPlace,
  findClosedFolder,
  listPlaces,
  makePlace,
  makePlaceFolder,
  type Place,
  placeOf,
  preparePlaces,
  removePlace,
  type Uids,
} from "./place.ts";
import {
  isRunning,
  knownOf,
  kvmGroups,
  limitMachine,
  listMarked,
  processesOf,
  startProgram,
} from "./processes.ts";
import { machineStats } from "./stats.ts";
import { startTpm } from "./tpm.ts";
import { TpmAuthority } from "./tpm-authority.ts";
import { watchTpm } from "./tpm-watch.ts";
import type { Boot, Confidential, Disk, Firmware, Network } from "./vm.ts";

export interface VmOptions {
  /** The driver's own; every uid of a machine passes through it. Short, since sockets are below it. */
  folder: string;
  /** Marks everything as this driver's; two drivers on one computer need two names. */
  owner: string;
  program: string;
  accelerator: "kvm" | "tcg";
  seccomp: boolean;
  /** The program that plays TPMs, for machines that have one. */
  tpmProgram: string;
  /** The program that makes a TPM with a certificate (swtpm_setup); null: nobody vouches for the machines' TPMs. */
  tpmSetupProgram: string | null;
  /** Two uids for each machine; null: all run as this process does. */
  uids: { base: number; count: number } | null;
  /** Networks of machines' own; null: QEMU's network stack, which lets nothing out. */
  networks: { taps: Taps; addresses: AddressPool } | null;
  /** How long a QEMU may take to answer, which it does at once on a computer that is not overloaded; then it is ended. */
  answerMs: number;
  /** How long a guest may take to come up, and to go down by itself. */
  bootMs: number;
  shutdownMs: number;
}

export interface VmAsk {
  boot: Boot;
  /** Needed for a unified kernel image; null: the kernel is started without. */
  firmware: Firmware | null;
  /** Null: memory that the host can read. */
  confidential?: Confidential | null;
  /** The measured boot of firmware and kernel lands in it; without firmware there is nothing measured in it. */
  tpm: boolean;
  /** Read-only and shared with other machines. */
  roots: readonly Disk[];
  /** For what the guest need not keep; 0 for none. */
  scratchMiB: number;
  /** The port of the guest that the host's ingress reaches. */
  publicPort: number | null;
  /** What it may reach of the host, and whom it asks for names, where it has a network of its own; null: it has none. */
  network: Pick<VmNetwork, "doors" | "nameServers"> | null;
  /** Of one whose sending is limited (`kept.egressLimitBytes`): what others know that it has sent. */
  sent?: Metered | undefined;
}

export interface VmHooks {
  /** Called before anything is made, so that a kill at any moment leaves nothing unfindable. */
  onRecord(record: KeptRecord): Promise<void>;
  onProgress(text: string): void;
  signal: AbortSignal;
}

export interface StartedVm {
  record: KeptRecord;
  endpoint: Endpoint | null;
  /** As it was given one of its own. */
  network: VmNetwork | null;
  guest: Guest;
}

/** Beside those of containers, and below those that the kernel gives away. */
const PORTS = { base: 12_000, count: 8_000 };
const ASK_MS = 5_000;
/** OVMF stands still in 128 MiB, without a word. */
const FIRMWARE_MIB_MIN = 256;
/** Beside what QEMU says itself. */
const TPM_ENDED = "tpm-ended";
const TPM_WORDS = "the program that plays its TPM has ended";
const LOOK_EVERY_MS = 20;
const WORDS_MS = 500;
const RULES_LOOK_MS = 5_000;
const METERS_LOOK_MS = 5_000;

type HalfOfPort = Pick<
  KeptDriver,
  "probe" | "halt" | "remove" | "find" | "logs" | "stats" | "onChange" | "list" | "reap" | "close"
>;

export class VirtualMachines implements HalfOfPort {
  readonly #options: VmOptions;
  readonly #notes: Notes<VmNote>;
  readonly #consoles: Notes;
  readonly #cgroups: Cgroups;
  readonly #uids: UidPool | null;
  readonly #tpmAuthority: TpmAuthority | null;
  readonly #turns = new Turns();
  readonly #starts = new Map<string, Set<AbortController>>();
  readonly #live = new Map<string, Conversation>();
  readonly #doors = new Map<string, OpenDoors>();
  readonly #listeners: ((machineId: string, change: KeptChange) => void)[] = [];
  readonly #end = new AbortController();
  readonly #rules: KeptRules;
  readonly #meters: Meters;

  constructor(options: VmOptions) {
    if (!OWNER.test(options.owner))
      throw new TypeError("owner must be a short name of a-z, 0-9, dot and dash");
    this.#options = options;
    preparePlaces(options.folder);
    this.#notes = new Notes(options.folder);
    this.#consoles = new Notes(`${options.folder}/consoles`);
    this.#cgroups = findCgroups(options.owner);
    const { tpmSetupProgram, folder } = options;
    this.#tpmAuthority =
      tpmSetupProgram === null
        ? null
        : new TpmAuthority({ folder: `${folder}/tpm-authority`, program: tpmSetupProgram });
    this.#uids = options.uids === null ? null : new UidPool(options.uids);
    this.#meters = new Meters({
      ...{ folder: `${folder}/egress`, everyMs: METERS_LOOK_MS },
      taps: () => options.networks?.taps ?? null,
    });
    this.#rules = keepRules({
      taps: { ruled: async () => (await options.networks?.taps.ruled()) ?? new Set() },
      everyMs: RULES_LOOK_MS,
      machines: () => [...this.#live.keys()].filter((id) => this.#notes.read(id)?.network != null),
      restore: (id) => this.#restoreRules(id),
    });
  }

  async probe(): Promise<KeptProbe> {
    const { folder, program } = this.#options;
    const missing = (text: string): KeptProbe => ({ ready: false, missing: text });
    const ran = await runProgram([program, "--version"], { timeoutMs: ASK_MS }).catch(() => null);
    if (ran?.code !== 0) return missing(`no QEMU answers at ${program}: apt-get install -y qemu-system-x86`);
    const closed = this.#uids === null ? null : findClosedFolder(folder);
    if (closed !== null)
      return missing(`machines have uids of their own, which cannot pass ${closed}: chmod o+x ${closed}`);
    return { ready: true, missing: null };
  }

  /** What vouches for the machines' TPMs: DER in base64, the signer first and its root last. Empty when nobody does. */
  async endorsers(): Promise<string[]> {
    return (await this.#tpmAuthority?.chain()) ?? [];
  }

  async start(machineId: string, spec: MachineSpec, ask: VmAsk, hooks: VmHooks): Promise<StartedVm> {
    const own = new AbortController();
    const others = this.#starts.get(machineId) ?? new Set();
    this.#starts.set(machineId, others.add(own));
    const signal = AbortSignal.any([hooks.signal, own.signal, this.#end.signal]);
    try {
      return await this.#inTurn(machineId, async (place) => {
        const record = { v: 1, driver: "qemu", owner: this.#options.owner };
        signal.throwIfAborted();
        if (ask.firmware !== null && spec.memoryMiB < FIRMWARE_MIB_MIN)
          throw new DriverFault("machine.start-failed", `firmware needs at least ${FIRMWARE_MIB_MIN} MiB`);
        await hooks.onRecord(record);
        // Port A: whatever ran before is replaced. What it has not written to its disk yet it writes when it is asked to end.
        const ran = this.#notes.read(machineId)?.phase === "running";
        await this.#endAll(machineId, place, ran ? this.#options.shutdownMs : 0);
        const { accelerator } = this.#options;
        const network = this.#takeNetwork(machineId, spec, ask);
        const note: VmNote = {
          ...{ v: 1, phase: "starting", qemu: null, tpm: null, accelerator },
          uids: this.#takeUids(machineId),
          cpus: Math.max(1, Math.ceil(spec.cpuMillis / 1000)),
          memoryMiB: spec.memoryMiB,
          stateMiB: spec.kept?.diskMiB ?? 0,
          network,
          hostPort: ask.publicPort === null || network !== null ? null : await this.#findPort(machineId),
        };
        this.#notes.write(machineId, note);
        try {
          const guest = await this.#run({ machineId, place, note, spec, ask, hooks, signal });
          return { record, endpoint: endpointOf(note), network, guest };
        } catch (error) {
          await this.#endAll(machineId, place, 0);
          throw error instanceof DriverFault && !signal.aborted ? error : startFailed(error, signal);
        }
      });
    } finally {
      others.delete(own);
      if (others.size === 0) this.#starts.delete(machineId);
    }
  }

  async #run(run: {
    machineId: string;
    place: Place;
    note: VmNote;
    spec: MachineSpec;
    ask: VmAsk;
    hooks: VmHooks;
    signal: AbortSignal;
  }): Promise<Guest> {
    const { machineId, place, note, spec, ask, hooks, signal } = run;
    const { program, owner, seccomp, bootMs } = this.#options;
    const sizes = { stateMiB: note.stateMiB, scratchMiB: ask.scratchMiB };
    makePlace(place, note.uids, sizes, ask.firmware?.variables ?? null);
    if (note.network !== null) {
      hooks.onProgress("making the machine's network");
      await this.#connect(machineId, note.network, ask.sent);
    }
    const cgroups = limitMachine(this.#cgroups, machineId, { ...note, cpuMillis: spec.cpuMillis });
    hooks.onProgress("starting the virtual machine");
    this.#notes.log(machineId, "starting");
    const own = (path: string, serial: string): Disk => ({ path, serial, readOnly: false });
    const parts = {
      ...{ machineId, cpus: note.cpus, memoryMiB: note.memoryMiB, boot: ask.boot, seccomp },
      disks: [
        ...ask.roots,
        ...(note.stateMiB > 0 ? [own(place.state, "state")] : []),
        ...(ask.scratchMiB > 0 ? [own(place.scratch, "scratch")] : []),
      ],
      ports: [{ name: PORT_NAME, socketPath: place.sockets.guest }],
      network: this.#networkOf(machineId, note, ask),
      consoleSocket: place.sockets.console,
      qmpSocket: place.sockets.qmp,
    };
    const words = commandLine(
      ask.confidential != null
        ? { kind: "confidential", ...ask.confidential, ...parts }
        : {
            ...{ kind: "plain", accelerator: note.accelerator, ...parts },
            tpmSocket: ask.tpm ? place.tpm.socket : null,
            firmware: ask.firmware && { code: ask.firmware.code, variables: place.variables },
          },
    );
    const cgroupFiles = this.#cgroups.firstOf(cgroups);
    const { uids } = note;
    const tpm = ask.tpm
      ? await startTpm({
          ...{ program: this.#options.tpmProgram, owner, machineId, cgroupFiles },
          ...{ place, uids, authority: this.#tpmAuthority, signal },
        })
      : null;
    const child = startProgram({
      ...{ program, words, owner, machineId, uid: uids?.qemu ?? null, cgroupFiles },
      groups: kvmGroups(note.accelerator === "kvm"),
      ...(note.network && { through: inNamespace(this.#options.networks!.taps.namespaceOf(machineId)) }),
    });
    const gone = new AbortController();
    let lastWords = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      lastWords = (lastWords + text).slice(-500);
    });
    const exited = new Promise((resolve) => child.once("close", resolve).once("error", resolve));
    child.once("error", (error) => gone.abort(error));
    child.once("close", (code, by) => {
      const words = lastWords.trim().split("\n").at(-1)!;
      const why = this.#live.get(machineId)?.reason === TPM_ENDED ? TPM_WORDS : `QEMU ended (${by ?? code})`;
      gone.abort(new DriverFault("machine.start-failed", `${why} ${words}`.trimEnd()));
    });
    child.unref();
    if (child.pid === undefined) throw new DriverFault("machine.start-failed", "QEMU could not be started");
    const started = { ...note, qemu: knownOf(child.pid), tpm };
    this.#notes.write(machineId, started);
    const wanted = AbortSignal.any([signal, gone.signal]);
    try {
      const conversation = await this.#converse(machineId, place, started, wanted);
      const running = await conversation.qmp.execute("cont");
      if (!running.ok) throw new DriverFault("machine.start-failed", `QEMU: ${running.fault.message}`);
      hooks.onProgress("booting");
      const guest = await conversation.greet(bootMs);
      // B
      this.#notes.write(machineId, { ...started, phase: "running" });
      this.#notes.log(machineId, "running");
      this.#watch(machineId, place, conversation);
      return guest;
    } catch (error) {
      // A QEMU that ends closes its sockets first, and its own words say more about that than ours.
      await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, WORDS_MS))]);
      throw gone.signal.aborted ? gone.signal.reason : error;
    }
  }

  async #converse(
    machineId: string,
    place: Place,
    { accelerator, qemu, tpm }: Pick<VmNote, "accelerator" | "qemu" | "tpm">,
    signal: AbortSignal,
  ): Promise<Conversation> {
    const conversation = await openConversation({
      ...{ machineId, place, accelerator, signal, answerMs: this.#options.answerMs },
      onConsole: (lines) => this.#consoles.logAll(machineId, lines),
    });
    this.#live.set(machineId, conversation);
    if (qemu !== null && tpm != null) {
      const onEnd = () => {
        conversation.reason = TPM_ENDED;
      };
      void conversation.qmp.ended.then(watchTpm({ tpm, qemu, onEnd }));
    }
    return conversation;
  }

  /** Port F. */
  #watch(machineId: string, place: Place, conversation: Conversation): void {
    void conversation.qmp.ended.then(() => {
      if (this.#live.get(machineId) !== conversation || this.#end.signal.aborted) return;
      return this.#inTurn(machineId, async () => {
        if (this.#live.get(machineId) !== conversation) return;
        const { reason } = conversation;
        const kills = this.#cgroups.oomKills(this.#cgroups.plan(machineId)) ?? 0;
        // D
        await this.#endAll(machineId, place, 0);
        const change = changeOf(reason, kills > 0);
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

  /** At once: whoever asks has nothing more to say to its guest. */
  async end(machineId: string): Promise<void> {
    await this.#inTurn(machineId, (place) => this.#endAll(machineId, place, 0));
  }

  /** Into the machine's own log; its owner reads it. */
  say(machineId: string, text: string): void {
    checkId(machineId);
    this.#notes.log(machineId, text);
  }

  async remove(machineId: string, _record: KeptRecord | null): Promise<void> {
    this.#callOff(machineId);
    await this.#inTurn(machineId, async (place) => {
      await this.#endAll(machineId, place, 0);
      removePlace(place);
      this.#meters.remove(machineId);
      this.#consoles.remove(machineId);
      this.#notes.remove(machineId);
    });
  }

  /** Half a start is ended here, and so is what runs and does not answer as itself. */
  async find(
    machineId: string,
    _record: KeptRecord,
  ): Promise<{ state: KeptState; endpoint: Endpoint | null }> {
    return this.#inTurn(machineId, async (place) => {
      const note = this.#notes.read(machineId);
      if (note?.phase === "running" && isRunning(note.qemu)) {
        if (this.#live.has(machineId) || (await this.#adopt(machineId, place, note)))
          // Rules may have been lost, and doors ended with the process that held them.
          await this.#reconnect(machineId, note);
        if (this.#live.has(machineId)) return { state: "running", endpoint: endpointOf(note) };
      }
      if (note?.phase !== "halted") await this.#endAll(machineId, place, 0);
      return { state: note === null ? "gone" : "halted", endpoint: null };
    });
  }

  async #adopt(machineId: string, place: Place, note: VmNote): Promise<boolean> {
    const signal = AbortSignal.any([this.#end.signal, AbortSignal.timeout(this.#options.answerMs)]);
    try {
      const conversation = await this.#converse(machineId, place, note, signal);
      const status = await conversation.qmp.execute(
        "query-status",
        {},
        { timeoutMs: this.#options.answerMs },
      );
      if (!status.ok || !status.value.running) return false;
      // A guest that is busy answers later: it is asked again by whoever wants something of it.
      conversation.greet(this.#options.bootMs).catch(() => {});
      this.#watch(machineId, place, conversation);
      return true;
    } catch (error) {
      if (this.#end.signal.aborted) throw error;
      this.#notes.log(machineId, "what runs does not answer as this machine, and is ended");
      return false;
    }
  }

  /** Port G. Its state disk alone: the rest is made anew with each start, its TPM's state too, which is this host's. */
  readDisk(machineId: string, signal: AbortSignal): Promise<AsyncIterable<DiskPart>> {
    return this.#inTurn(machineId, async (place) => {
      this.#requireHalted(machineId);
      return readDiskFile(place.state, signal);
    });
  }

  async writeDisk(machineId: string, parts: AsyncIterable<DiskPart>, signal: AbortSignal): Promise<void> {
    const own = AbortSignal.any([signal, this.#end.signal]);
    await this.#inTurn(machineId, (place) => {
      this.#requireHalted(machineId);
      makePlaceFolder(place);
      return writeDiskFile(place.state, parts, own);
    });
  }

  #requireHalted(machineId: string): void {
    const note = this.#notes.read(machineId);
    if (this.#live.has(machineId) || (note !== null && (note.phase !== "halted" || isRunning(note.qemu))))
      throw new DriverFault("host.not-ready", "the machine is not halted");
  }

  /** The guest of a machine that runs; rejects when it does not answer. */
  async guest(machineId: string): Promise<Guest> {
    const conversation = this.#live.get(machineId);
    if (conversation === undefined)
      throw new DriverFault("machine.not-running", "this host runs no such machine");
    return conversation.greet(this.#options.bootMs);
  }

  /** `console`: what the guest wrote to its serial line while a host process was there. */
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
    return machineStats(note, placeOf(this.#options.folder, machineId));
  }

  onChange(listener: (machineId: string, change: KeptChange) => void): void {
    this.#listeners.push(listener);
  }

  async list(): Promise<Set<string>> {
    const marked = [...listMarked(this.#options.owner), ...this.#cgroups.machines()];
    return new Set([
      ...marked.filter((id) => MACHINE_ID.test(id)),
      ...((await this.#options.networks?.taps.list()) ?? []),
      ...[...listPlaces(this.#options.folder), ...this.#notes.list(), ...this.#consoles.list()],
      ...this.#meters.list(),
    ]);
  }

  async reap(keep: ReadonlySet<string>): Promise<number> {
    const strangers = [...(await this.list())].filter((id) => !keep.has(id));
    for (const machineId of strangers) await this.remove(machineId, null);
    return strangers.length;
  }

  /** Machines run on; only this process's part in them ends. */
  async close(): Promise<void> {
    this.#end.abort(new Error("the host is stopping"));
    this.#rules.close();
    this.#meters.close();
    for (const conversation of this.#live.values()) conversation.close();
    for (const doors of this.#doors.values()) doors.close();
    this.#live.clear();
    await this.#turns.settled();
  }

  /** C. Asks the guest first when it is given time; ends what is left; gives back all but the state. */
  async #endAll(machineId: string, place: Place, shutdownMs: number): Promise<void> {
    const note = this.#notes.read(machineId);
    const conversation = this.#live.get(machineId) ?? null;
    this.#live.delete(machineId);
    if (shutdownMs > 0 && note !== null && isRunning(note.qemu)) {
      this.#notes.log(machineId, "asked to shut down");
      await this.#shutDown(machineId, place, note, conversation, shutdownMs);
    }
    conversation?.close();
    const cgroups = this.#cgroups.plan(machineId);
    const find = () => processesOf(this.#options.owner, machineId, note?.qemu ?? null, cgroups);
    if ((await endProcesses(find)) === null)
      throw new DriverFault("machine.start-failed", "a process of the machine does not end");
    for (const path of cgroups.paths)
      for (let tries = 0; !removeTree(path) && tries < 200; tries++)
        await new Promise((resolve) => setTimeout(resolve, 10));
    await this.#disconnect(machineId, note);
    emptyPlace(place);
    for (const uid of Object.values(note?.uids ?? {})) this.#uids?.give(uid);
    if (note !== null)
      this.#notes.write(machineId, {
        ...note,
        phase: "halted",
        qemu: null,
        tpm: null,
        uids: null,
        network: null,
      });
  }

  /** The agent is asked, and where none answers the power button is pressed. */
  async #shutDown(
    machineId: string,
    place: Place,
    note: VmNote,
    known: Conversation | null,
    shutdownMs: number,
  ): Promise<void> {
    const late = AbortSignal.timeout(shutdownMs);
    const { accelerator } = note;
    const ask = { machineId, place, accelerator, onConsole: () => {}, signal: late, answerMs: ASK_MS };
    const conversation = known ?? (await openConversation(ask).catch(() => null));
    if (conversation === null) return;
    const asked = await conversation.guest?.ask("shutdown", {}, { timeoutMs: ASK_MS }).catch(() => null);
    if (!asked) await conversation.qmp.execute("system_powerdown");
    while (isRunning(note.qemu) && !late.aborted)
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    if (isRunning(note.qemu)) this.#notes.log(machineId, "did not shut down in time, and is ended");
    conversation.close();
  }

  #callOff(machineId: string): void {
    for (const start of this.#starts.get(machineId) ?? []) start.abort(new Error("called off"));
  }

  #takeUids(machineId: string): Uids | null {
    const pool = this.#uids;
    if (pool === null) return null;
    const used = new Set(this.#otherNotes(machineId).flatMap(({ uids }) => Object.values(uids ?? {})));
    const take = (): number => {
      const uid = pool.take();
      return used.has(uid) ? take() : uid;
    };
    return { qemu: take(), tpm: take() };
  }

  #takeNetwork(machineId: string, { kept }: MachineSpec, { network, publicPort }: VmAsk): VmNetwork | null {
    const { networks } = this.#options;
    if (networks === null || network === null) return null;
    const used = this.#otherNotes(machineId).flatMap((note) => note.network?.addresses.guest ?? []);
    const limit = kept?.egressLimitBytes;
    return {
      ...{ addresses: networks.addresses.take(new Set(used)), ...network, publicPort },
      ...(limit !== undefined && { egressLimitBytes: limit }),
    };
  }

  async #connect(
    machineId: string,
    network: VmNetwork,
    known: Metered = { sentBytes: 0, cut: false },
  ): Promise<void> {
    const { addresses, doors, nameServers, egressLimitBytes: limit } = network;
    const meter = limit === undefined ? undefined : this.#meters.begin(machineId, limit, known);
    await this.#options.networks!.taps.make(machineId, tapAsk(network, meter));
    this.#doors.set(machineId, await openDoors(addresses, doors, nameServers.door));
  }

  async #reconnect(machineId: string, { network }: VmNote): Promise<void> {
    if (network === null || this.#options.networks === null) return;
    const { addresses, doors, nameServers, egressLimitBytes: limit } = network;
    const meter = limit === undefined ? undefined : this.#meters.resume(machineId, limit);
    await this.#options.networks.taps.protect(machineId, tapAsk(network, meter));
    if (this.#doors.has(machineId)) return;
    this.#doors.set(machineId, await openDoors(addresses, doors, nameServers.door));
  }

  /** Somebody emptied the host's firewall. */
  async #restoreRules(machineId: string): Promise<void> {
    await this.#inTurn(machineId, async () => {
      const note = this.#notes.read(machineId);
      if (note === null || !this.#live.has(machineId) || this.#end.signal.aborted) return;
      await this.#reconnect(machineId, note);
      this.#notes.log(machineId, "the rules of its network were gone from the host, and are there again");
    });
  }

  /** What runs has ended. Also after a kill, when nothing is known but the machine's name. */
  async #disconnect(machineId: string, note: VmNote | null): Promise<void> {
    const { networks } = this.#options;
    this.#doors.get(machineId)?.close();
    this.#doors.delete(machineId);
    if (networks === null) return;
    await this.#meters.settle(machineId);
    await networks.taps.remove(machineId);
    if (note?.network) networks.addresses.give(note.network.addresses);
  }

  #networkOf(machineId: string, { network, hostPort }: VmNote, { publicPort }: VmAsk): Network {
    if (network !== null) {
      const mac = this.#options.networks!.taps.macOf(machineId);
      return { kind: "tap", descriptor: TAP_DESCRIPTOR, mac };
    }
    if (hostPort === null) return { kind: "none" };
    return { kind: "user", forwards: [{ hostPort, guestPort: publicPort! }] };
  }

  /** Bytes over its wire since its start; null where it has no network of its own. */
  async carried(machineId: string): Promise<Carried | null> {
    checkId(machineId);
    return (await this.#options.networks?.taps.carried(machineId)) ?? null;
  }

  /** What machines with a limit have sent in their lives; nothing of those that have no network of their own. */
  egress(): Promise<EgressFacts[]> {
    return this.#meters.readings();
  }

  #findPort(machineId: string): Promise<number> {
    const others = this.#otherNotes(machineId).map(({ hostPort }) => hostPort);
    return findHostPort(machineId, PORTS, new Set(others));
  }

  #otherNotes(machineId: string): VmNote[] {
    const others = this.#notes.list().filter((id) => id !== machineId);
    return others.flatMap((id) => this.#notes.read(id) ?? []);
  }

  /** A */
  async #inTurn<T>(machineId: string, work: (place: Place) => Promise<T>): Promise<T> {
    checkId(machineId);
    return this.#turns.run(machineId, () => work(placeOf(this.#options.folder, machineId)));
  }
}

function endpointOf({ hostPort, network }: VmNote): Endpoint | null {
  if (network !== null)
    return network.publicPort === null ? null : { host: network.addresses.guest, port: network.publicPort };
  return hostPort === null ? null : { host: "127.0.0.1", port: hostPort };
}

const tapAsk = ({ addresses, doors, nameServers }: VmNetwork, meter: Meter | undefined): TapAsk => ({
  meter,
  addresses,
  doors: doors.map(({ port }) => port),
  dnsDoor: nameServers.door !== null,
  nameServers: nameServers.direct,
});

function startFailed(error: unknown, signal: AbortSignal): DriverFault {
  const cause = signal.aborted ? signal.reason : error;
  if (cause instanceof GuestLate) return new DriverFault("machine.boot-timeout", cause.message, { cause });
  const why = cause instanceof Error ? cause.message : String(cause);
  return new DriverFault("machine.start-failed", why, { cause });
}

/** With `-no-reboot` a restart from inside ends QEMU too; it is then started anew, and measured anew. */
function changeOf(reason: string | null, memory: boolean): KeptChange {
  if (reason === "guest-shutdown") return { state: "halted", detail: "shut down from inside", orderly: true };
  if (reason === "guest-panic") return { state: "halted", detail: "its kernel panicked" };
  if (reason === TPM_ENDED) return { state: "interrupted", detail: TPM_WORDS };
  if (reason === "guest-reset") return { state: "interrupted", detail: "restarted from inside" };
  if (memory) return { state: "halted", detail: "the host ended it for memory" };
  return { state: "interrupted", detail: "its QEMU was ended from outside" };
}

/** Ids become parts of paths and marks. */
function checkId(machineId: string): void {
  if (!MACHINE_ID.test(machineId)) throw new TypeError("not a machine id");
}
