// SPDX-License-Identifier: Apache-2.0
/**
 * Kept machines that are virtual: an image's guest, measured as far as this computer can, told what to run by a sealed box. Of the port's
 * letters A to C and E are kept by machines.ts; here is what its guest is asked.
 *
 *   boot ─▶ claim ─▶ certificate ─▶ (secrets, asked for outside) ─▶ payload, up ─▶ running, looked at now and then
 *
 *  A. What a guest says is a stranger's (guest-words.ts). It decides about its own machine and nothing else.
 *  B. The box of secrets passes through here sealed. Nothing of it is kept: a start that ended half way is
 *     begun from its boot, with a new key, for which an old box is of no use.
 *  C. A host process that finds the machine again asks its guest for everything; on disk is only by which claim it was
 *     claimed, and when its certificate is due.
 *  D. Two drivers have two owners, folders and ranges of uids; addresses they take from one pool.
 */
import { randomBytes, X509Certificate } from "node:crypto";
import { INSTANCE_DOOR_ADDRESS } from "#contract/link/instance-door.ts";
import type { ContainerFacts } from "#contract/link/kept.ts";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { Payload } from "#contract/link/payload.ts";
import { type Guest, GuestGone, GuestRefused } from "#guest/client.ts";
import {
  type Claim,
  type GuestLogsAsk,
  type OperationName,
  type Operations,
  PART_BYTES_MAX,
} from "#guest/protocol.ts";
import { commandLine } from "#images/metadata.ts";
import { listImages } from "#images/store.ts";
import { DriverFault } from "../driver.ts";
import type {
  AttestedMachine,
  DiskPart,
  EgressFacts,
  Endpoint,
  KeptChange,
  KeptDriver,
  KeptProbe,
  KeptRecord,
  KeptStart,
  KeptState,
  LogsAsk,
  MachineStats,
} from "../kept-driver.ts";
import { Turns } from "../turns.ts";
import { guestLines } from "./guest-logs.ts";
import type { GuestMachines } from "./guest-machines.ts";
import { judged } from "./guest-words.ts";
import { bootOf, requireImage, rootOf } from "./image-files.ts";
import { openLaunchNotes } from "./launch-note.ts";
import { parseLaunch } from "./launch-payload.ts";
import { VirtualMachines, type VmOptions } from "./machines.ts";
import { doorsOf } from "./network/doors.ts";
import { findNameServers } from "./network/name-servers.ts";
import type { VmNetwork } from "./note.ts";
import { Questions } from "./questions.ts";
import { requireSsh } from "./ssh-probe.ts";
import type { Confidential, Firmware } from "./vm.ts";
import { pause, type Watched, watchGuest } from "./watch.ts";

export interface GuestOptions extends Pick<VmOptions, "folder" | "networks" | "answerMs"> {
  isolation: "vm" | "vm-vtpm" | "vm-snp" | "vm-tdx" | "system-container";
  /** Of `vm-snp` and `vm-tdx`, by the launch's hash; null: memory that the host can read. */
  confidential: ((launchSha256: Uint8Array) => Confidential) | null;
  /** Of built images (images/store.ts); every uid can read what is in it. */
  imagesFolder: string;
  /** Registries (`host:port`) that machines may reach by a door of the host. */
  registriesInside: readonly string[];
  /** Needed for measured boot. */
  firmware: Firmware | null;
  /** What keeps machines of this kind from starting here, looked for by somebody else; null: nothing. */
  lacking(): string | null;
  /** What runs a virtual machine's instructions. */
  accelerator?: VmOptions["accelerator"];
  /** That it is still being looked for. */
  looking?(): boolean;
  /** Between two looks at a machine that runs, or starts. */
  lookMs: number;
  now?(): number;
}

export interface QemuOptions extends GuestOptions, VmOptions {
  isolation: Exclude<GuestOptions["isolation"], "system-container">;
  accelerator: VmOptions["accelerator"];
}

/** Known of a guest while it runs. */
interface Launched {
  guest: Guest;
  keys: AttestedMachine["keys"];
  request: Buffer | null;
  watch: Watched | null;
  /** Since the last certificate was asked for. Also of a start: it is certified for its names as they were when it began. */
  certifyAnew: boolean;
  /** Of one that somebody logs in to. */
  sshHostKeys?: readonly string[] | undefined;
  /** The box that it is being handed while it runs. */
  claiming: Promise<void>;
  /** What is asked about it from outside. */
  questions: Questions;
  /** The same, of its evidence: a TPM takes a second for each. */
  challenges: Questions;
}

/** Where the guest serves TLS with its own key. */
const TLS_PORT = 443;
const SSH_PORT = 22;
const ENTROPY_BYTES = 64;
/** That a guest may name while it starts; a start may take long, and a stranger's guest names others with each look. */
const IMAGES_MAX = 256;
const RENEW_AGAIN_MS = 3_600_000;
const OWN_WORDS_MS = 1_000;
const CHALLENGES = { underWayMax: 1, waitingMax: 8 };
/** Of a start whose guest is gone: what became of its QEMU is told when nothing of it is left. */
const FATE_MS = 10_000;
/** It is asked every few seconds, and starts a program to know. */
const PROBED_MS = 60_000;
/** QEMU's own network has this one for its guest. */
const USER_NETWORK = { address: "10.0.2.15/24", gateway: "10.0.2.2", nameServers: [] };

export class QemuDriver implements KeptDriver {
  readonly isolation: GuestOptions["isolation"];
  readonly #options: GuestOptions;
  readonly #machines: GuestMachines;
  readonly #notes: ReturnType<typeof openLaunchNotes>;
  readonly #turns = new Turns();
  readonly #starts = new Map<string, Set<AbortController>>();
  readonly #launched = new Map<string, Launched>();
  /** Told what became of a machine that is being started: its guest's silence says less. */
  readonly #fates = new Map<string, (detail: string) => void>();
  readonly #listeners: ((machineId: string, change: KeptChange) => void)[] = [];
  readonly #end = new AbortController();
  #probed: { probe: KeptProbe; untilMs: number } | null = null;
  #certify: ((machineId: string, request: Uint8Array) => Promise<string>) | null = null;

  constructor(options: QemuOptions);
  /** The same guests in something else than virtual machines. */
  constructor(options: GuestOptions, machines: GuestMachines);
  constructor(options: GuestOptions, machines?: GuestMachines) {
    this.#options = options;
    this.isolation = options.isolation;
    this.#machines = machines ?? new VirtualMachines(options as QemuOptions);
    this.#notes = openLaunchNotes(options.folder);
    this.#machines.onChange((machineId, change) => {
      this.#fates.get(machineId)?.(change.detail);
      const known = this.#forget(machineId);
      // While it starts, the start tells.
      if (known?.watch) this.#tellOf(known, machineId, change);
    });
  }

  async probe(): Promise<KeptProbe> {
    const { isolation, imagesFolder, firmware, lacking, looking } = this.#options;
    const missing = lacking();
    if (missing !== null) return { ready: false, missing, ...(looking?.() && { looking: true }) };
    if (isolation === "vm-vtpm" && firmware === null)
      return { ready: false, missing: "measured boot needs firmware: apt-get install -y ovmf" };
    if (!hasImage(imagesFolder))
      return { ready: false, missing: "there is no guest image yet: casemate images build containers" };
    const nowMs = performance.now();
    if (this.#probed !== null && nowMs < this.#probed.untilMs) return this.#probed.probe;
    const probe = await this.#look();
    if (probe.ready) this.#probed = { probe, untilMs: nowMs + PROBED_MS };
    return probe;
  }

  async #look(): Promise<KeptProbe> {
    const probe = await this.#machines.probe();
    if (!probe.ready) return probe;
    const alone = this.#options.networks === null;
    const missing = alone
      ? "machines reach nothing outside: networks of their own need root and nftables"
      : null;
    const endorsers = this.isolation === "vm-vtpm" ? await this.#machines.endorsers() : [];
    const { accelerator } = this.#options;
    return {
      ...probe,
      missing,
      ...(accelerator && { accelerator }),
      ...(endorsers.length > 0 && { endorsers }),
    };
  }

  async start(
    machineId: string,
    spec: MachineSpec,
    payload: Payload,
    hooks: KeptStart,
  ): Promise<{ record: KeptRecord; endpoint: Endpoint }> {
    const own = new AbortController();
    const others = this.#starts.get(machineId) ?? new Set();
    this.#starts.set(machineId, others.add(own));
    const signal = AbortSignal.any([hooks.signal, own.signal, this.#end.signal]);
    try {
      return await this.#turns.run(machineId, async () => {
        this.#forget(machineId);
        const fate = Promise.withResolvers<string>();
        this.#fates.set(machineId, fate.resolve);
        try {
          return await this.#start(machineId, spec, payload, { ...hooks, signal });
        } catch (error) {
          this.#forget(machineId);
          // A QEMU that ended takes the conversation with it, and its own end says more.
          const told =
            error instanceof GuestGone && !signal.aborted
              ? await Promise.race([fate.promise, pause(FATE_MS, signal)])
              : null;
          await this.#machines.end(machineId);
          if (typeof told === "string") throw new DriverFault("machine.start-failed", told, { cause: error });
          throw faultOf(error, signal);
        } finally {
          this.#fates.delete(machineId);
        }
      });
    } finally {
      others.delete(own);
      if (others.size === 0) this.#starts.delete(machineId);
    }
  }

  async #start(machineId: string, spec: MachineSpec, payload: Payload, hooks: KeptStart) {
    const { imagesFolder, isolation, firmware, registriesInside, confidential } = this.#options;
    const { inside, signal } = hooks;
    const launch = parseLaunch(payload);
    if (inside === undefined)
      throw new DriverFault(
        "machine.start-failed",
        "a machine with keys of its own needs who certifies them",
      );
    if (launch.stateDisk && (spec.kept?.diskMiB ?? 0) === 0)
      throw new DriverFault("machine.start-failed", "the launch has a state disk, and the machine none");
    const doors = doorsOf(launch.payload.registries, registriesInside).map((door) =>
      launch.logins && door.to.host.startsWith("127.") ? { ...door, from: INSTANCE_DOOR_ADDRESS } : door,
    );
    hooks.onProgress("looking at the guest image");
    const image = await requireImage(imagesFolder, launch.payload.image);
    signal.throwIfAborted();
    const measured = isolation === "vm-vtpm";
    // Without, nothing is measured into its TPM, and no evidence of it is accepted.
    const boots = measured ? firmware : null;
    const claimId = randomBytes(16).toString("hex");
    const onRecord = async (early: KeptRecord) => {
      await hooks.onRecord(early);
      // Before it is booted: what is started from an image keeps it from being removed.
      this.#notes.write(machineId, { v: 1, image: launch.payload.image, claimId, renewAtMs: null });
    };
    const { guest, record, endpoint, network } = await this.#machines.start(
      machineId,
      spec,
      {
        ...{ image, launchSha256: launch.manifestSha256 },
        boot: bootOf(image, commandLine(image.metadata, launch.manifestSha256), boots !== null),
        ...{ firmware: boots, tpm: measured, roots: [rootOf(image)] },
        confidential: confidential?.(Buffer.from(launch.manifestSha256, "hex")) ?? null,
        ...{ scratchMiB: spec.kept?.scratchMiB ?? 0, publicPort: launch.logins ? SSH_PORT : TLS_PORT },
        ...{ network: { doors, nameServers: findNameServers() }, sent: launch.payload.sent },
      },
      { onRecord, onProgress: (text) => hooks.onProgress(text), signal },
    );
    const launched = await this.#claim(machineId, guest, {
      ...{ claimId, manifest: launch.payload.manifest, authorizedKeys: [] },
      ...networkOf(network),
      endorsers: measured ? await this.#machines.endorsers() : [],
    });
    this.#launched.set(machineId, launched);
    if (launched.request !== null)
      await this.#certifyWith(machineId, launched, () =>
        orGone(guest, signal, inside.certify(launched.request!)),
      );
    hooks.onProgress("waiting for its secrets");
    const box = await orGone(guest, signal, inside.secrets());
    hooks.onProgress("handing it its secrets");
    await this.#give(guest, box, signal);
    const { sshHostKeys } = await this.#untilRunning(guest, hooks);
    const place = placeOf(endpoint!, sshHostKeys);
    if (launch.logins) await withEnd(requireSsh(place, this.#options.answerMs), signal);
    launched.sshHostKeys = sshHostKeys;
    launched.watch = this.#watch(machineId, launched);
    return { record, endpoint: place };
  }

  async #claim(machineId: string, guest: Guest, given: Omit<Claim, "entropy" | "timeMs">): Promise<Launched> {
    const entropy = randomBytes(ENTROPY_BYTES).toString("base64");
    const claim: Claim = { ...given, entropy, timeMs: this.#now() };
    const answer = judged("claim", await guest.ask("claim", claim, this.#bound()));
    if (answer.claimId !== given.claimId)
      throw new DriverFault("machine.start-failed", "the guest was claimed by another claim");
    const { sealing, tls, request } = answer.keys;
    this.#machines.say(machineId, "claimed");
    return {
      ...{ guest, keys: { sealing, tls }, watch: null, certifyAnew: false, claiming: Promise.resolve() },
      ...{ questions: new Questions(), challenges: new Questions(CHALLENGES) },
      request: request === null ? null : Buffer.from(request, "base64"),
    };
  }

  async #certifyWith(machineId: string, { guest }: Launched, ask: () => Promise<string>): Promise<void> {
    const chain = await ask();
    await guest.ask("certificate", { chain }, this.#bound());
    const leaf = new X509Certificate(chain);
    const [from, to] = [leaf.validFromDate.getTime(), leaf.validToDate.getTime()];
    const note = this.#notes.read(machineId);
    // One that somebody else signed may be given again until there is its successor.
    const renewAtMs = Math.max(Math.round(from + ((to - from) * 2) / 3), this.#now() + RENEW_AGAIN_MS);
    if (note !== null) this.#notes.write(machineId, { ...note, renewAtMs });
  }

  /** B */
  async #give(guest: Guest, box: Uint8Array, signal: AbortSignal): Promise<void> {
    const of = Math.max(1, Math.ceil(box.length / PART_BYTES_MAX));
    for (let part = 0; part < of; part++) {
      const piece = box.subarray(part * PART_BYTES_MAX, (part + 1) * PART_BYTES_MAX);
      const bytes = Buffer.from(piece).toString("base64");
      await guest.ask("payload", { part, of, bytes }, { ...this.#bound(), signal });
    }
    await guest.ask("up", {}, { ...this.#bound(), signal });
  }

  /** However long it pulls: who wanted it may call it off. */
  async #untilRunning(guest: Guest, { onProgress, onImage, signal }: KeptStart) {
    let said = "";
    const told = new Set<string>();
    for (;;) {
      const status = judged("status", await guest.ask("status", {}, { ...this.#bound(), signal }));
      const words = status.detail === "" ? status.phase : status.detail;
      if (words !== said) onProgress(words);
      said = words;
      for (const image of status.images) {
        const key = `${image.service} ${image.digest}`;
        if (told.has(key)) continue;
        if (told.size >= IMAGES_MAX)
          throw new DriverFault("machine.start-failed", "the guest names more images than any workload has");
        told.add(key);
        onImage(image);
      }
      if (status.phase === "running") return status;
      if (status.phase === "failed" || status.phase === "ended")
        throw new DriverFault("machine.guest-failed", status.detail || "what runs in the machine has ended");
      await orGone(guest, signal, pause(this.#options.lookMs, signal));
    }
  }

  #watch(machineId: string, launched: Launched): Watched {
    const { guest, request } = launched;
    return watchGuest({
      ...{ guest, everyMs: this.#options.lookMs, ...this.#bound(), signal: this.#end.signal },
      onChange: (change) => {
        if (this.#launched.get(machineId) === launched) this.#tellOf(launched, machineId, change);
      },
      onMute: (why) => this.#endMute(machineId, launched, why),
      onTurn: async () => {
        const note = this.#notes.read(machineId);
        const certify = this.#certify;
        if (request === null || certify === null || note?.renewAtMs == null) return;
        if (!launched.certifyAnew && this.#now() < note.renewAtMs) return;
        launched.certifyAnew = false;
        try {
          await this.#certifyWith(machineId, launched, () => certify(machineId, request));
          this.#machines.say(machineId, "given another certificate");
        } catch (error) {
          this.#notes.write(machineId, { ...note, renewAtMs: this.#now() + RENEW_AGAIN_MS });
          this.#machines.say(machineId, `was given no other certificate: ${wordsOf(error)}`);
        }
      },
    });
  }

  /** Its QEMU runs and its agent is lost: nobody can ask it anything any more. One that ended by itself is told of by machines.ts. */
  #endMute(machineId: string, launched: Launched, why: string): void {
    void this.#turns.run(machineId, async () => {
      // A QEMU that ended takes the conversation with it, and its own end says more.
      await pause(OWN_WORDS_MS, this.#end.signal);
      if (this.#launched.get(machineId) !== launched || this.#end.signal.aborted) return;
      this.#forget(machineId);
      await this.#machines.end(machineId);
      this.#machines.say(machineId, why);
      this.#tell(machineId, { state: "interrupted", detail: "the agent in the machine does not answer" });
    });
  }

  async halt(machineId: string, record: KeptRecord | null): Promise<void> {
    this.#callOff(machineId);
    await this.#turns.run(machineId, async () => {
      this.#forget(machineId);
      await this.#machines.halt(machineId, record);
    });
  }

  async remove(machineId: string, record: KeptRecord | null): Promise<void> {
    this.#callOff(machineId);
    await this.#turns.run(machineId, async () => {
      this.#forget(machineId);
      await this.#machines.remove(machineId, record);
      this.#notes.remove(machineId);
    });
  }

  /** C. One that was not running yet is half a start, and is ended: who waited for its secrets is gone. */
  async find(
    machineId: string,
    record: KeptRecord,
  ): Promise<{ state: KeptState; endpoint: Endpoint | null }> {
    return this.#turns.run(machineId, async () => {
      const found = await this.#machines.find(machineId, record);
      if (found.state !== "running") return found;
      const known = this.#launched.get(machineId);
      if (known?.watch) return { state: "running", endpoint: placeOf(found.endpoint!, known.sshHostKeys) };
      try {
        const launched = await this.#recognise(machineId);
        launched.watch = this.#watch(machineId, launched);
        this.#launched.set(machineId, launched);
        return { state: "running", endpoint: placeOf(found.endpoint!, launched.sshHostKeys) };
      } catch (error) {
        if (this.#end.signal.aborted) throw error;
        this.#machines.say(machineId, `is ended: ${wordsOf(error)}`);
        await this.#machines.end(machineId);
        return { state: "halted", endpoint: null };
      }
    });
  }

  async #recognise(machineId: string): Promise<Launched> {
    const note = this.#notes.read(machineId);
    if (note === null) throw new Error("nobody knows by which claim it was claimed");
    const late = AbortSignal.timeout(this.#options.answerMs);
    const guest = await withEnd(this.#machines.guest(machineId), late);
    // The same claim again is answered with what it was answered; nothing else of it is read.
    const { claimId } = note;
    const launched = await this.#claim(machineId, guest, { claimId, manifest: "", authorizedKeys: [] });
    const status = judged("status", await guest.ask("status", {}, this.#bound()));
    if (status.phase !== "running") throw new Error(`it was found ${status.phase}`);
    return { ...launched, sshHostKeys: status.sshHostKeys };
  }

  async attested(machineId: string, { ofStart } = { ofStart: false }): Promise<AttestedMachine> {
    const launched = this.#launched.get(machineId);
    if (launched === undefined)
      throw new DriverFault("machine.not-running", "this host runs no such machine");
    const { guest, keys, challenges } = launched;
    const inTurn = <T>(ask: () => Promise<T>) => (ofStart ? ask() : challenges.run(ask));
    return {
      keys,
      evidence: (purpose, nonce) =>
        inTurn(async () =>
          judged("evidence", await guest.ask("evidence", { purpose, nonce }, this.#bound())),
        ),
      activate: (credential, secret) =>
        inTurn(
          async () =>
            judged("activate", await guest.ask("activate", { credential, secret }, this.#bound())).secret,
        ),
    };
  }

  /** B */
  async claimAnew(machineId: string, box: Uint8Array): Promise<void> {
    const launched = this.#require(machineId);
    const taken = launched.claiming.then(() => this.#give(launched.guest, box, this.#end.signal));
    // One after the other: two boxes whose parts come in turns are none.
    launched.claiming = taken.catch(() => {});
    await taken.catch((error: unknown) => {
      throw faultOf(error, this.#end.signal);
    });
  }

  certifyAnew(machineId: string): void {
    const launched = this.#launched.get(machineId);
    if (launched !== undefined) launched.certifyAnew = true;
    const note = this.#notes.read(machineId);
    // For another host process, should this one end before the next look.
    if (note?.renewAtMs != null) this.#notes.write(machineId, { ...note, renewAtMs: 0 });
  }

  certifyBy(certify: (machineId: string, request: Uint8Array) => Promise<string>): void {
    this.#certify = certify;
  }

  async containers(machineId: string): Promise<ContainerFacts[]> {
    const launched = this.#launched.get(machineId);
    if (launched === undefined) return [];
    return judged("containers", await this.#ask(launched, "containers", {})).containers;
  }

  logs(machineId: string, ask: LogsAsk): AsyncIterable<string> {
    const { container } = ask;
    if (container === null || container === "console") return this.#machines.logs(machineId, ask);
    const signal = AbortSignal.any([ask.signal, this.#end.signal]);
    const question = async (asked: GuestLogsAsk) =>
      this.#ask(this.#require(machineId), "logs", asked, signal);
    return guestLines(question, { ...ask, container, signal });
  }

  /** The guest's own figures, as a container's are; this computer's where it does not answer. */
  async stats(machineId: string): Promise<MachineStats> {
    const seen = await this.#machines.stats(machineId);
    // The kernel of a container counts for the whole computer.
    if (this.isolation === "system-container") return seen;
    const launched = this.#launched.get(machineId);
    if (launched === undefined) return seen;
    const said = await this.#ask(launched, "stats", {}).catch(() => null);
    if (said === null) return seen;
    const { memory, cpus, disks } = judged("stats", said);
    const frequencyMhz = seen.cpus[0]?.frequencyMhz ?? 0;
    return { memory, cpus: cpus.map((cpu) => ({ ...cpu, frequencyMhz })), disks };
  }

  /** What is on it is the guest's ciphertext; its key comes from control, to whichever host's guest shows the evidence. */
  readDisk(machineId: string, signal: AbortSignal): Promise<AsyncIterable<DiskPart>> {
    return this.#machines.readDisk(machineId, signal);
  }

  writeDisk(machineId: string, parts: AsyncIterable<DiskPart>, signal: AbortSignal): Promise<void> {
    return this.#turns.run(machineId, () => this.#machines.writeDisk(machineId, parts, signal));
  }

  egress(): Promise<EgressFacts[]> {
    return this.#machines.egress();
  }

  onChange(listener: (machineId: string, change: KeptChange) => void): void {
    this.#listeners.push(listener);
  }

  /** There is no engine between us and machines. */
  async answers(): Promise<boolean> {
    return true;
  }

  async list(): Promise<Set<string>> {
    return new Set([...(await this.#machines.list()), ...this.#notes.list()]);
  }

  async reap(keep: ReadonlySet<string>): Promise<number> {
    const strangers = [...(await this.list())].filter((id) => !keep.has(id));
    for (const machineId of strangers) await this.remove(machineId, null);
    return strangers.length;
  }

  async close(): Promise<void> {
    this.#end.abort(new Error("the host is stopping"));
    for (const { watch } of this.#launched.values()) await watch?.ended;
    await this.#machines.close();
    await this.#turns.settled();
  }

  /** In its turn. The question itself is not called off: a late answer would end the conversation. */
  #ask<Name extends OperationName>(
    { guest, questions }: Launched,
    op: Name,
    args: Operations[Name][0],
    signal?: AbortSignal,
  ): Promise<Operations[Name][1]> {
    return questions.run(() => guest.ask(op, args, this.#bound()), signal);
  }

  #require(machineId: string): Launched {
    const launched = this.#launched.get(machineId);
    if (launched !== undefined) return launched;
    throw new DriverFault("machine.not-running", "this host runs no such machine");
  }

  #forget(machineId: string): Launched | undefined {
    const launched = this.#launched.get(machineId);
    launched?.watch?.stop();
    this.#launched.delete(machineId);
    return launched;
  }

  /** What people log in to stays down when they shut it down. Whatever else ends it is a fault, and it is started again. */
  #tellOf({ sshHostKeys }: Launched, machineId: string, change: KeptChange): void {
    const isFault = sshHostKeys !== undefined && change.state === "halted" && change.orderly !== true;
    this.#tell(machineId, isFault ? { ...change, state: "interrupted" } : change);
  }

  #tell(machineId: string, change: KeptChange): void {
    for (const listener of this.#listeners) listener(machineId, change);
  }

  #callOff(machineId: string): void {
    for (const start of this.#starts.get(machineId) ?? []) start.abort(new Error("called off"));
  }

  #bound(): { timeoutMs: number } {
    return { timeoutMs: this.#options.answerMs };
  }

  #now(): number {
    return this.#options.now?.() ?? Date.now();
  }
}

function hasImage(folder: string): boolean {
  try {
    return listImages(folder).length > 0;
  } catch {
    return false;
  }
}

/** One that has keys of an SSH server is for logging in; every other one serves TLS. */
const placeOf = (endpoint: Endpoint, hostKeys: readonly string[] | undefined): Endpoint =>
  hostKeys === undefined
    ? { ...endpoint, tlsInside: true }
    : { ...endpoint, ssh: { hostKeys: hostKeys.map((key) => key.split(" ", 2).join(" ")) } };

function networkOf(network: VmNetwork | null): Pick<Claim, "network" | "doors"> {
  if (network === null) return { network: USER_NETWORK };
  const { addresses, doors, nameServers } = network;
  const servers = nameServers.door === null ? nameServers.direct : [addresses.gateway];
  return {
    network: { address: `${addresses.guest}/30`, gateway: addresses.gateway, nameServers: servers },
    doors: doors.map(({ port }) => port),
  };
}

/** The machine may end, or not be wanted, while somebody else takes their time. */
async function orGone<T>(guest: Guest, signal: AbortSignal, work: Promise<T>): Promise<T> {
  const gone = guest.closed.then((reason) => Promise.reject(reason));
  return withEnd(Promise.race([work, gone]), signal);
}

async function withEnd<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = () => reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  promise.catch(() => {});
  work.catch(() => {});
  return Promise.race([work, promise]).finally(() => signal.removeEventListener("abort", stop));
}

const wordsOf = (error: unknown) => (error instanceof Error ? error.message : String(error)).slice(0, 300);

/** What a guest refuses it says in public words. */
function faultOf(error: unknown, signal: AbortSignal): DriverFault {
  const cause = signal.aborted ? signal.reason : error;
  if (!signal.aborted && error instanceof DriverFault) return error;
  if (cause instanceof GuestRefused)
    return new DriverFault("machine.guest-failed", `the guest: ${cause.message}`, { cause });
  return new DriverFault("machine.start-failed", wordsOf(cause), { cause });
}
