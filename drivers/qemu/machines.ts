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
import type { Guest } from "#guest/client.ts";
import { PORT_NAME } from "#guest/protocol.ts";
import { machineLines } from "../docker/logs.ts";
import { MACHINE_ID, OWNER } from "../docker/marks.ts";
import { Notes } from "../docker/notes.ts";
import { runProgram } from "../docker/program.ts";
import { DriverFault } from "../driver.ts";
import { findHostPort } from "../host-port.ts";
import type {
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
import type { VmNote } from "./note.ts";
import {
  emptyPlace,
  findClosedFolder,
  listPlaces,
  makePlace,
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
import type { Boot, Disk, Firmware } from "./vm.ts";

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
  /** Two uids for each machine; null: all run as this process does. */
  uids: { base: number; count: number } | null;
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
  /** The measured boot of firmware and kernel lands in it; without firmware there is nothing measured in it. */
  tpm: boolean;
  /** Read-only and shared with other machines. */
  roots: readonly Disk[];
  /** For what the guest need not keep; 0 for none. */
  scratchMiB: number;
  /** The port of the guest that the host's ingress reaches. */
  publicPort: number | null;
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
  guest: Guest;
}

/** Beside those of containers, and below those that the kernel gives away. */
const PORTS = { base: 12_000, count: 8_000 };
const ASK_MS = 5_000;
/** OVMF stands still in 128 MiB, without a word. */
const FIRMWARE_MIB_MIN = 256;
const LOOK_EVERY_MS = 20;
const WORDS_MS = 500;

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
  readonly #turns = new Turns();
  readonly #starts = new Map<string, Set<AbortController>>();
  readonly #live = new Map<string, Conversation>();
  readonly #listeners: ((machineId: string, change: KeptChange) => void)[] = [];
  readonly #end = new AbortController();

  constructor(options: VmOptions) {
    if (!OWNER.test(options.owner))
      throw new TypeError("owner must be a short name of a-z, 0-9, dot and dash");
    this.#options = options;
    preparePlaces(options.folder);
    this.#notes = new Notes(options.folder);
    this.#consoles = new Notes(`${options.folder}/consoles`);
    this.#cgroups = findCgroups(options.owner);
    this.#uids = options.uids === null ? null : new UidPool(options.uids);
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
        // Port A: whatever ran before is replaced.
        await this.#endAll(machineId, place, 0);
        const { accelerator } = this.#options;
        const note: VmNote = {
          ...{ v: 1, phase: "starting", qemu: null, accelerator },
          uids: this.#takeUids(machineId),
          cpus: Math.max(1, Math.ceil(spec.cpuMillis / 1000)),
          memoryMiB: spec.memoryMiB,
          stateMiB: spec.kept?.diskMiB ?? 0,
          hostPort: ask.publicPort === null ? null : await this.#findPort(machineId),
        };
        this.#notes.write(machineId, note);
        try {
          const guest = await this.#run({ machineId, place, note, spec, ask, hooks, signal });
          return { record, endpoint: endpointOf(note), guest };
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
    const cgroups = limitMachine(this.#cgroups, machineId, { ...note, cpuMillis: spec.cpuMillis });
    hooks.onProgress("starting the virtual machine");
    this.#notes.log(machineId, "starting");
    const own = (path: string, serial: string): Disk => ({ path, serial, readOnly: false });
    const words = commandLine({
      ...{
        kind: "plain",
        machineId,
        accelerator: note.accelerator,
        cpus: note.cpus,
        memoryMiB: note.memoryMiB,
      },
      ...{ boot: ask.boot, tpmSocket: ask.tpm ? place.tpm.socket : null, seccomp },
      firmware: ask.firmware && { code: ask.firmware.code, variables: place.variables },
      disks: [
        ...ask.roots,
        ...(note.stateMiB > 0 ? [own(place.state, "state")] : []),
        ...(ask.scratchMiB > 0 ? [own(place.scratch, "scratch")] : []),
      ],
      ports: [{ name: PORT_NAME, socketPath: place.sockets.guest }],
      network:
        note.hostPort === null
          ? { kind: "none" }
          : { kind: "user", forwards: [{ hostPort: note.hostPort, guestPort: ask.publicPort! }] },
      consoleSocket: place.sockets.console,
      qmpSocket: place.sockets.qmp,
    });
    const cgroupFiles = this.#cgroups.firstOf(cgroups);
    const { uids } = note;
    if (ask.tpm) {
      const tpm = { program: this.#options.tpmProgram, owner, machineId, cgroupFiles };
      await startTpm({ ...tpm, place, uids, signal });
    }
    const child = startProgram({
      ...{ program, words, owner, machineId, uid: uids?.qemu ?? null, cgroupFiles },
      groups: kvmGroups(note.accelerator === "kvm"),
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
      gone.abort(new DriverFault("machine.start-failed", `QEMU ended (${by ?? code}) ${words}`.trimEnd()));
    });
    child.unref();
    if (child.pid === undefined) throw new DriverFault("machine.start-failed", "QEMU could not be started");
    const started = { ...note, qemu: knownOf(child.pid) };
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
    { accelerator }: Pick<VmNote, "accelerator">,
    signal: AbortSignal,
  ): Promise<Conversation> {
    const conversation = await openConversation({
      ...{ machineId, place, accelerator, signal, answerMs: this.#options.answerMs },
      onConsole: (line) => this.#consoles.log(machineId, line),
    });
    this.#live.set(machineId, conversation);
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

  async remove(machineId: string, _record: KeptRecord | null): Promise<void> {
    this.#callOff(machineId);
    await this.#inTurn(machineId, async (place) => {
      await this.#endAll(machineId, place, 0);
      removePlace(place);
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
          return { state: "running", endpoint: endpointOf(note) };
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
      ...[...listPlaces(this.#options.folder), ...this.#notes.list(), ...this.#consoles.list()],
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
    for (const conversation of this.#live.values()) conversation.close();
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
    emptyPlace(place);
    for (const uid of Object.values(note?.uids ?? {})) this.#uids?.give(uid);
    if (note !== null) this.#notes.write(machineId, { ...note, phase: "halted", qemu: null, uids: null });
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

const endpointOf = ({ hostPort }: VmNote): Endpoint | null =>
  hostPort === null ? null : { host: "127.0.0.1", port: hostPort };

function startFailed(error: unknown, signal: AbortSignal): DriverFault {
  const cause = signal.aborted ? signal.reason : error;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new DriverFault("machine.start-failed", why, { cause });
}

/** With `-no-reboot` a restart from inside ends QEMU too; it is then started anew, and measured anew. */
function changeOf(reason: string | null, memory: boolean): KeptChange {
  if (reason === "guest-shutdown") return { state: "halted", detail: "shut down from inside" };
  if (reason === "guest-panic") return { state: "halted", detail: "its kernel panicked" };
  if (reason === "guest-reset") return { state: "interrupted", detail: "restarted from inside" };
  if (memory) return { state: "halted", detail: "the host ended it for memory" };
  return { state: "interrupted", detail: "its QEMU was ended from outside" };
}

/** Ids become parts of paths and marks. */
function checkId(machineId: string): void {
  if (!MACHINE_ID.test(machineId)) throw new TypeError("not a machine id");
}
