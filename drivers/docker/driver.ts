// SPDX-License-Identifier: Apache-2.0
/**
 * Kept machines as Docker containers: every machine is one compose project on the engine of this host,
 * with a network, limits and firewall rules of its own. All machines and the host share one kernel, and
 * who owns the host sees everything in them: isolation `container` promises no more.
 *
 *  A. Operations on one machine run one after the other. `halt` and `remove` call off a start.
 *  B. Everything is found by marks (marks.ts), so nothing in this process's memory is needed to end a
 *     machine: any new instance can.
 *  C. A machine that halts loses its containers and keeps its volumes. What a container wrote beside
 *     its volumes is gone, as it is whenever compose makes a container anew.
 *
 * Where the payload's secrets are (rule D of the port). Files, configs, secrets and, while compose reads
 * it, the document: on a tmpfs. Registry logins: in a request to the engine, never in a file. Values of
 * environment variables are the exception, and against the rule: the engine writes every container's
 * configuration to its data folder, environment included, and has no option against it. There are two
 * places. `containers/<id>/config.v2.json` is there while the machine runs, and until the next `halt`,
 * `remove`, `find` or `start` when engine or host went down; with C it goes when the machine halts,
 * unlinked and not overwritten. `meta.db` of containerd holds the same, and what was deleted in it stays
 * readable in its free pages until they are used again, also after `remove`. The tests look for more
 * such places and find none. Who needs more uses `secrets:` in the document, which never touch a disk,
 * or has the operator put the engine's and containerd's data folders on an encrypted disk.
 */
import { chmodSync, mkdirSync } from "node:fs";
import Docker from "dockerode";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { Payload } from "#contract/link/payload.ts";
import { DriverFault } from "../driver.ts";
import type {
  ContainerFacts,
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
import { Changes } from "./changes.ts";
import { type ComposeProgram, findCompose } from "./compose.ts";
import { Disk, measureDisk } from "./disk.ts";
import { DiskWatch } from "./disk-watch.ts";
import { findTraces, haltMachine, type Place, removeMachine } from "./end.ts";
import { findEndpoint, listContainers, listStrangers } from "./engine.ts";
import { EngineEgress } from "./engine-egress.ts";
import { containerFacts, machineStats } from "./facts.ts";
import { filePlaces, hasFiles } from "./files.ts";
import { Firewall } from "./firewall.ts";
import { Images } from "./images.ts";
import { installationOf } from "./installation.ts";
import { containerLines, machineLines } from "./logs.ts";
import { MACHINE_ID, OWNER } from "./marks.ts";
import { Notes } from "./notes.ts";
import { engineFacts, probeDocker } from "./probe.ts";
import { type StartAsk, startMachine } from "./start.ts";

const ANSWER_MS = 5_000;

export interface DockerOptions {
  socketPath: string;
  /** The driver's own folder, for root alone. */
  folder: string;
  /** Marks everything as this driver's; two drivers on one engine need two names. */
  owner: string;
  /** How compose is called, when it is not to be looked for. */
  composeCommand?: string[];
  /** Registries (`host:port`) in private ranges that clients may pull from. */
  registriesInside?: string[];
  /** The cgroup (v2) of the engine's process, as `system.slice/docker.service`: it is kept from addresses inside. */
  engineCgroup?: string | null;
  /** Between two looks at the disks of what runs. */
  diskEveryMs?: number;
}

export class DockerDriver implements KeptDriver {
  readonly isolation = "container";
  readonly #options: DockerOptions;
  readonly #engine: Docker;
  readonly #notes: Notes;
  readonly #firewall: Firewall;
  readonly #egress: EngineEgress | null;
  readonly #images: Images;
  readonly #changes: Changes;
  readonly #disk: Disk;
  readonly #disks: DiskWatch;
  readonly #turns = new Turns();
  readonly #starts = new Map<string, Set<AbortController>>();
  readonly #end = new AbortController();
  #place: Promise<Place> | null = null;
  #program: ComposeProgram | null = null;

  constructor(options: DockerOptions) {
    if (!OWNER.test(options.owner))
      throw new TypeError("owner must be a short name of a-z, 0-9, dot and dash");
    const { folder, owner, socketPath } = options;
    this.#options = options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
    this.#engine = new Docker({ socketPath });
    this.#notes = new Notes(folder);
    this.#firewall = new Firewall(owner);
    const registriesInside = new Set(options.registriesInside);
    const { engineCgroup = null } = options;
    this.#egress =
      engineCgroup === null ? null : new EngineEgress(this.#firewall, engineCgroup, [...registriesInside]);
    const beforePull = async () => this.#egress?.hold();
    this.#images = new Images({ engine: this.#engine, folder, registriesInside, beforePull });
    this.#changes = new Changes(this.#engine, owner, this.#notes);
    this.#disk = new Disk((machineId) => measureDisk(this.#engine, owner, machineId));
    this.#disks = new DiskWatch(this.#disk, this.#changes, this.#notes, options.diskEveryMs);
  }

  probe(): Promise<KeptProbe> {
    const { socketPath, folder, composeCommand } = this.#options;
    return probeDocker(this.#engine, socketPath, folder, composeCommand);
  }

  async start(
    machineId: string,
    spec: MachineSpec,
    payload: Payload,
    hooks: KeptStart,
  ): Promise<{ record: KeptRecord; endpoint: Endpoint }> {
    if (payload.kind !== "compose")
      throw new DriverFault("machine.start-failed", "a container is started with a compose document");
    const own = new AbortController();
    const others = this.#starts.get(machineId) ?? new Set();
    this.#starts.set(machineId, others.add(own));
    try {
      return await this.#inTurn(machineId, async () => {
        this.#changes.unwatch(machineId);
        const { socketPath, folder, composeCommand } = this.#options;
        this.#program ??= await findCompose(folder, composeCommand);
        if (this.#program === null)
          throw new DriverFault("machine.start-failed", "compose is missing on this host");
        const signal = AbortSignal.any([hooks.signal, own.signal, this.#end.signal]);
        const ask = { images: this.#images, program: this.#program, socketPath, machineId, spec, payload };
        try {
          const place = await this.#placed();
          return await this.#startWatched({ ...ask, place, hooks: { ...hooks, signal } });
        } catch (error) {
          // Whatever it failed with, an engine that is away is the reason, and not the payload.
          throw signal.aborted || (await this.answers()) ? error : away(error);
        }
      });
    } finally {
      others.delete(own);
      if (others.size === 0) this.#starts.delete(machineId);
    }
  }

  async #startWatched(ask: StartAsk): Promise<{ record: KeptRecord; endpoint: Endpoint }> {
    const { note, endpoint } = await startMachine(ask);
    if (await this.#changes.watch(ask.machineId))
      return { record: { ...note, driver: "docker", owner: this.#options.owner }, endpoint };
    await haltMachine(ask.place, ask.machineId);
    const detail = `service ${note.publicService} ended as soon as it was started`;
    throw new DriverFault("machine.start-failed", detail);
  }

  async halt(machineId: string, _record: KeptRecord | null): Promise<void> {
    this.#callOff(machineId);
    await this.#inTurn(machineId, async () => {
      this.#changes.unwatch(machineId);
      await haltMachine(await this.#placed(), machineId);
      if (this.#notes.read(machineId) !== null) this.#notes.log(machineId, "halted");
    });
  }

  async remove(machineId: string, _record: KeptRecord | null): Promise<void> {
    this.#callOff(machineId);
    await this.#inTurn(machineId, async () => {
      this.#changes.unwatch(machineId);
      await removeMachine(await this.#placed(), machineId);
      this.#images.forget(machineId);
      this.#disk.forget(machineId);
    });
  }

  /**
   * Half a start is ended here: nobody knows what of it runs. So is what the engine started again by
   * itself without the files of the machine, after the host had restarted, and what is left of a machine
   * whose public service is gone: its name would be carried to nobody.
   */
  async find(
    machineId: string,
    _record: KeptRecord,
  ): Promise<{ state: KeptState; endpoint: Endpoint | null }> {
    return this.#inTurn(machineId, async () => {
      const place = await this.#placed();
      const { owner, folder } = this.#options;
      const note = this.#notes.read(machineId);
      const containers = await listContainers(this.#engine, owner, machineId);
      const runs = containers.some(
        ({ service, info }) =>
          service === note?.publicService && ["running", "restarting", "paused"].includes(info.State),
      );
      if (note === null && containers.length === 0) return { state: "gone", endpoint: null };
      if (note?.phase !== "running" || !runs || !hasFiles(filePlaces(folder, machineId))) {
        if (note?.phase !== "halted" || containers.length > 0) await haltMachine(place, machineId);
        return { state: note === null ? "gone" : "halted", endpoint: null };
      }
      await this.#firewall.protect(machineId, note.bridges);
      if (!(await this.#changes.watch(machineId))) {
        await haltMachine(place, machineId);
        return { state: "halted", endpoint: null };
      }
      const { publicService, publicPort } = note;
      return {
        state: "running",
        endpoint: await findEndpoint(this.#engine, owner, machineId, publicService, publicPort),
      };
    });
  }

  containers(machineId: string): Promise<ContainerFacts[]> {
    checkId(machineId);
    return containerFacts(this.#engine, this.#options.owner, machineId);
  }

  logs(machineId: string, ask: LogsAsk): AsyncIterable<string> {
    checkId(machineId);
    const followed = { ...ask, signal: AbortSignal.any([ask.signal, this.#end.signal]) };
    return ask.container === null
      ? machineLines(this.#notes, machineId, followed)
      : containerLines(this.#engine, this.#options.owner, machineId, followed);
  }

  async stats(machineId: string): Promise<MachineStats> {
    checkId(machineId);
    const note = this.#notes.read(machineId);
    if (note === null) throw new DriverFault("machine.not-running", "this host has no such machine");
    const { kind } = await this.#placed();
    return machineStats(
      { engine: this.#engine, owner: this.#options.owner, kind, disk: this.#disk },
      machineId,
      note,
    );
  }

  onChange(listener: (machineId: string, change: KeptChange) => void): void {
    this.#changes.listen(listener);
  }

  async answers(): Promise<boolean> {
    // Its type knows no options.
    const engine = this.#engine as unknown as { ping(ask: { abortSignal: AbortSignal }): Promise<unknown> };
    try {
      await engine.ping({ abortSignal: AbortSignal.timeout(ANSWER_MS) });
      return true;
    } catch {
      return false;
    }
  }

  async list(): Promise<Set<string>> {
    const place = await this.#placed();
    const found = await findTraces(place);
    for (const id of await listStrangers(this.#engine, place.owner, place.installation)) found.delete(id);
    return found;
  }

  async reap(keep: ReadonlySet<string>): Promise<number> {
    const strangers = [...(await findTraces(await this.#placed()))].filter((id) => !keep.has(id));
    for (const machineId of strangers) await this.remove(machineId, null);
    return strangers.length;
  }

  /** Machines run on; only this process's part in them ends. */
  async close(): Promise<void> {
    this.#end.abort();
    await this.#disks.close();
    await this.#changes.close();
    await this.#turns.settled();
    // Nothing is pulled for clients any more; what could not be removed holds the engine a while longer.
    await this.#egress?.release().catch(() => {});
  }

  /** What the engine is made of is asked once; an engine that was away is asked again. */
  #placed(): Promise<Place> {
    this.#place ??= engineFacts(this.#engine)
      .then(({ kind, layerQuota }) => ({
        engine: this.#engine,
        owner: this.#options.owner,
        folder: this.#options.folder,
        installation: installationOf(this.#options.folder),
        ...{ kind, layerQuota },
        notes: this.#notes,
        firewall: this.#firewall,
      }))
      .catch((error) => {
        this.#place = null;
        throw away(error);
      });
    return this.#place;
  }

  #callOff(machineId: string): void {
    for (const start of this.#starts.get(machineId) ?? []) start.abort();
  }

  /** A */
  async #inTurn<T>(machineId: string, work: () => Promise<T>): Promise<T> {
    checkId(machineId);
    return this.#turns.run(machineId, work);
  }
}

const away = (cause: unknown) =>
  new DriverFault("host.not-ready", "the Docker engine does not answer", { cause });

/** Ids become parts of paths, labels and rules. */
function checkId(machineId: string): void {
  if (!MACHINE_ID.test(machineId)) throw new TypeError("not a machine id");
}
