// SPDX-License-Identifier: Apache-2.0
/**
 * The driver for isolation `process`: a sandbox of namespaces made by bubblewrap, entered only through
 * enter.pl, ended with measurements. This file keeps the list of machines and their order of events;
 * each event is a file of its own.
 *
 *  A. A machine is in `#live` from when it has a sandbox until its end has been measured, or never. A
 *     sandbox is in `#starting`, among the spares or in `#live` from before its first process.
 *  B. `stop` runs once per machine; who asks again gets the same promise until `forget`.
 *  C. No command enters after `stop` began: the entry would keep the tmpfs reachable.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { assembleFilter } from "#confine/seccomp.ts";
import type { Machine } from "#confine/syscalls.ts";
import type { ExecResult, MachineSpec } from "#contract/link/machine.ts";
import {
  type Driver,
  DriverFault,
  type DriverProbe,
  type DriverRecord,
  type EndFacts,
  type ExecAsk,
  type StartedMachine,
} from "../driver.ts";
import { rootArguments } from "./arguments.ts";
import { type Cgroups, findCgroups } from "./cgroups.ts";
import { endSandbox, leftIn, type Traces } from "./end.ts";
import { EntryPool } from "./entry-pool.ts";
import { type ExecPlace, execInSandbox } from "./exec.ts";
import { toFacts } from "./facts.ts";
import { getFile, putFile, removeFile } from "./files.ts";
import { Launcher } from "./launcher.ts";
import type { Sandbox } from "./machine.ts";
import { Prober } from "./prober/client.ts";
import { bootId, listPids } from "./process-table.ts";
import { parseRecord, type SandboxRecord } from "./record.ts";
import { endProcesses, type InUse, markOf, processesOf, recoverSandbox } from "./recover.ts";
import { findMissing } from "./requirements.ts";
import { prepareSkeleton } from "./skeleton.ts";
import { type Shape, Spares } from "./spares.ts";
import { abandonSandbox, removeFolders, startSandbox, writeFilter } from "./start.ts";
import { type Template, Templates } from "./template.ts";
import { UidPool } from "./uids.ts";

const WAITING_ENTRIES = 2;

export interface SandboxOptions {
  /** A folder of this driver's own that every uid may enter (0755 up to the root). */
  folder: string;
  /** Marks cgroups and processes as this driver's; two drivers of one host need two names. */
  owner?: string;
  /** Host uids for machines, used only as root; no account of the host may have one of them. */
  uids?: { base: number; count: number };
  /** The prober's own uid, used only as root. */
  proberUid?: number;
  /** Root templates by name: a folder with a tree of its own and its digest (`sha256:…`). */
  templates?: ReadonlyMap<string, Template>;
  /** Sandboxes kept ready for machines that were not asked for yet. */
  spares?: number;
  /** Where this host could have left a session's bytes; searched for its canary at the end. */
  traces?: Partial<Traces>;
}

export class SandboxDriver
  implements Pick<Driver<EndFacts>, "start" | "exec" | "stop" | "live" | "forget" | "onDeath">
{
  readonly isolation = "process";
  readonly #options: Required<Pick<SandboxOptions, "folder" | "owner">> & SandboxOptions;
  readonly #privileged = process.getuid?.() === 0;
  readonly #templates: Templates;
  readonly #filter: Buffer;
  readonly #filterPath: string;
  readonly #skeleton: ReturnType<typeof prepareSkeleton>;
  readonly #roots = new Map<string | null, string[]>();
  readonly #cgroups: Cgroups;
  readonly #uids: UidPool;
  readonly #prober: Prober;
  readonly #launcher = new Launcher("machines");
  readonly #entries = new EntryPool(WAITING_ENTRIES);
  readonly #spares: Spares;
  readonly #traces: Traces;
  readonly #live = new Map<string, Sandbox>();
  /** Ids that sandboxes are being made under, and of machines that wait for one. */
  readonly #starting = new Set<string>();
  readonly #ending = new Map<string, Promise<EndFacts>>();
  readonly #mourners: ((machineId: string, reason: "oom" | "exited") => void)[] = [];

  constructor(options: SandboxOptions) {
    this.#options = { owner: "casemate", ...options };
    const { folder, owner, uids, proberUid, spares, traces } = this.#options;
    this.#templates = new Templates(this.#options.templates ?? new Map());
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    chmodSync(folder, 0o755);
    this.#skeleton = prepareSkeleton(folder);
    this.#filter = assembleFilter(process.arch as Machine);
    this.#filterPath = join(folder, "filter.bpf");
    writeFilter(this.#filterPath, this.#filter);
    this.#cgroups = findCgroups(owner);
    this.#uids = new UidPool(uids ?? { base: 1_900_000_000, count: 100_000 });
    this.#prober = new Prober(this.#privileged ? (proberUid ?? 1_899_999_999) : null);
    this.#spares = new Spares(spares ?? 0, {
      make: (shape) => this.#make(`mach_${randomBytes(16).toString("hex")}`, shape, async () => {}),
      abandon: (sandbox) => this.#abandon(sandbox),
    });
    this.#traces = { folders: traces?.folders ?? [], logs: traces?.logs ?? [] };
  }

  async start(
    machineId: string,
    spec: MachineSpec,
    onRecord: (record: DriverRecord) => Promise<void>,
  ): Promise<StartedMachine> {
    if (this.#live.has(machineId) || this.#starting.has(machineId) || this.#ending.has(machineId))
      throw new DriverFault("machine.already-there", `${machineId} was started before`);
    this.#starting.add(machineId);
    try {
      const spare = this.#spares.take(spec);
      const sandbox = spare
        ? await this.#give(spare, machineId, onRecord)
        : await this.#make(machineId, spec, onRecord);
      this.#live.set(machineId, sandbox);
      this.#entries.fillSoon();
      this.#spares.started(spec);
      void sandbox.monitor.gone.then(() => this.#onGone(sandbox));
      return { record: sandbox.record };
    } finally {
      this.#starting.delete(machineId);
    }
  }

  /** The spare as this machine's sandbox from now on. */
  async #give(
    spare: Sandbox,
    machineId: string,
    onRecord: (record: DriverRecord) => Promise<void>,
  ): Promise<Sandbox> {
    this.#starting.add(spare.machineId);
    try {
      const sandbox = { ...spare, machineId, record: { ...spare.record, madeAs: spare.machineId } };
      await onRecord(sandbox.record);
      return sandbox;
    } catch (cause) {
      await this.#abandon(spare);
      if (cause instanceof DriverFault) throw cause;
      throw new DriverFault("machine.start-failed", (cause as Error).message, { cause });
    } finally {
      // `start` goes on at once: no reap comes between here and `#live`.
      this.#starting.delete(spare.machineId);
    }
  }

  async #abandon(sandbox: Sandbox): Promise<void> {
    await abandonSandbox(sandbox);
    if (sandbox.record.uid !== null) this.#uids.give(sandbox.record.uid);
  }

  async #make(id: string, shape: Shape, onRecord: (record: DriverRecord) => Promise<void>): Promise<Sandbox> {
    const template = shape.image === null ? null : await this.#templates.get(shape.image);
    const uid = this.#privileged ? this.#uids.take() : null;
    const record: SandboxRecord = {
      v: 1,
      driver: "sandbox",
      bootId: bootId(),
      uid,
      cgroups: this.#cgroups.plan(id).paths,
      saltHex: randomBytes(32).toString("hex"),
      canaryHex: randomBytes(32).toString("hex"),
      rootDigest: template?.digest ?? null,
      started: null,
    };
    this.#starting.add(id);
    try {
      return await startSandbox({
        machineId: id,
        owner: this.#options.owner,
        spec: shape,
        record,
        cgroups: this.#cgroups,
        launcher: this.#launcher,
        prober: this.#prober,
        root: this.#rootOf(template?.path ?? null),
        filterPath: this.#filterPath,
        onRecord,
      });
    } catch (error) {
      if (uid !== null) this.#uids.give(uid);
      throw error;
    } finally {
      this.#starting.delete(id);
    }
  }

  /** Read once: a root's own folders do not change under a driver. */
  #rootOf(template: string | null): string[] {
    let root = this.#roots.get(template);
    if (!root) {
      root = rootArguments(template, this.#skeleton);
      this.#roots.set(template, root);
    }
    return root;
  }

  exec(machineId: string, ask: ExecAsk): Promise<ExecResult> {
    return this.#inside(machineId, (place) => execInSandbox(place, ask));
  }

  putFile(machineId: string, path: string, bytes: AsyncIterable<Uint8Array>, limitBytes: number) {
    return this.#inside(machineId, (place) => putFile(place, path, bytes, limitBytes));
  }

  getFile(machineId: string, path: string, onBytes: (bytes: Uint8Array) => Promise<void> | void) {
    return this.#inside(machineId, (place) => getFile(place, path, onBytes));
  }

  removeFile(machineId: string, path: string): Promise<void> {
    return this.#inside(machineId, (place) => removeFile(place, path));
  }

  stop(machineId: string): Promise<EndFacts> {
    const before = this.#ending.get(machineId);
    if (before) return before;
    const sandbox = this.#live.get(machineId);
    if (!sandbox)
      return Promise.reject(new DriverFault("machine.not-found", `${machineId} does not run here`));
    const ended = this.#end(sandbox);
    this.#ending.set(machineId, ended);
    return ended;
  }

  async recover(machineId: string, record: DriverRecord): Promise<EndFacts> {
    if (this.#live.has(machineId) || this.#starting.has(machineId))
      throw new DriverFault("machine.already-there", `${machineId} is alive here`);
    const known = parseRecord(record);
    const seen = await recoverSandbox(machineId, known, {
      mark: `${this.#options.owner}/${known.madeAs ?? machineId}`,
      prober: this.#prober,
      traces: this.#traces,
      inUse: this.#inUse(),
      release: () => ({
        // The process that gave it away is dead and its pool with it.
        uidReleased: known.uid === null ? null : true,
        slotsReleased: 0,
        lookupAbsent: !this.#live.has(machineId),
      }),
    });
    return toFacts(seen);
  }

  async reap(keep: ReadonlySet<string>): Promise<number> {
    const { owner } = this.#options;
    const found = this.#cgroups.machines();
    for (const pid of listPids()) {
      const mark = markOf(pid);
      if (mark?.startsWith(`${owner}/`)) found.add(mark.slice(owner.length + 1));
    }
    let ended = 0;
    for (const machineId of found) {
      // A session can put any text into its own environment; only what has the form of an id may become a path.
      if (!/^mach_[0-9a-f]{32}$/.test(machineId)) continue;
      if (keep.has(machineId) || this.#isOurs(machineId)) continue;
      const { paths } = this.#cgroups.plan(machineId);
      const inUse = this.#inUse();
      const processes = () => {
        const left = processesOf(`${owner}/${machineId}`, null, inUse);
        for (const pid of leftIn(paths)) left.add(pid);
        return left;
      };
      await endProcesses(processes);
      await removeFolders(paths);
      ended++;
    }
    return ended;
  }

  async probe(): Promise<DriverProbe> {
    const missing = await findMissing(this.#privileged ? this.#uids.take() : null, (uid) =>
      this.#uids.give(uid),
    );
    return { ready: missing === null, missing, limits: this.#cgroups.kind, privileged: this.#privileged };
  }

  async selfTest(): Promise<boolean> {
    const { processes, mounts } = await this.#prober
      .ask({ kind: "self-test" })
      .catch(() => ({ processes: 0, mounts: 0 }));
    return processes > 0 && mounts > 0;
  }

  get launcherPid(): number | undefined {
    return this.#launcher.pid;
  }

  get proberPid(): number | undefined {
    return this.#prober.pid;
  }

  /** How many sandboxes wait for a machine. */
  spares(): number {
    return this.#spares.waiting().length;
  }

  live(): string[] {
    return [...this.#live.keys()];
  }

  forget(machineId: string): void {
    this.#ending.delete(machineId);
  }

  onDeath(listener: (machineId: string, reason: "oom" | "exited") => void): void {
    this.#mourners.push(listener);
  }

  /** Ends every machine, the launcher and the prober. */
  async close(): Promise<void> {
    await Promise.allSettled(this.live().map((machineId) => this.stop(machineId)));
    await this.#spares.close();
    await Promise.all([this.#entries.close(), this.#launcher.close()]);
    await this.#prober.close();
    this.#cgroups.close();
  }

  async #end(sandbox: Sandbox): Promise<EndFacts> {
    const { machineId, record } = sandbox;
    const seen = await endSandbox(sandbox, {
      prober: this.#prober,
      traces: this.#traces,
      oom: (this.#cgroups.oomKills(sandbox.cgroups) ?? 0) > 0,
      devicesInUse: () => this.#inUse().devices,
      release: () => {
        const before = this.#slotsOf(machineId, record.uid);
        this.#live.delete(machineId);
        if (record.uid !== null) this.#uids.give(record.uid);
        return {
          uidReleased: record.uid === null ? null : !this.#uids.taken(record.uid),
          slotsReleased: before - this.#slotsOf(machineId, record.uid),
          lookupAbsent: !this.#live.has(machineId),
        };
      },
    });
    return toFacts(seen);
  }

  /** Places that the machine takes here: one in the list of machines, one in the pool of uids. */
  #slotsOf(machineId: string, uid: number | null): number {
    return Number(this.#live.has(machineId)) + Number(uid !== null && this.#uids.taken(uid));
  }

  /** Whether a sandbox that this process holds or makes bears the id. */
  #isOurs(id: string): boolean {
    const held = [...this.#live.values(), ...this.#spares.waiting()];
    return this.#starting.has(id) || held.some((each) => each.machineId === id || each.record.madeAs === id);
  }

  #inUse(): InUse {
    const alive = [...this.#live.values(), ...this.#spares.waiting()];
    return {
      uids: new Set(alive.map(({ record }) => record.uid ?? -1)),
      namespaces: new Set(alive.flatMap(({ started }) => Object.values(started.namespaces))),
      devices: new Set(alive.flatMap(({ started }) => started.mounts.map(({ device }) => device))),
    };
  }

  #onGone(sandbox: Sandbox): void {
    if (this.#ending.has(sandbox.machineId)) return;
    const reason = (this.#cgroups.oomKills(sandbox.cgroups) ?? 0) > sandbox.oomKillsSeen ? "oom" : "exited";
    for (const tell of this.#mourners) tell(sandbox.machineId, reason);
  }

  /** Runs work in a live machine (C); `stop` waits for all of it before it looks at the files. */
  async #inside<T>(machineId: string, work: (place: ExecPlace) => Promise<T>): Promise<T> {
    const sandbox = this.#live.get(machineId);
    if (!sandbox || this.#ending.has(machineId))
      throw new DriverFault("machine.not-found", `${machineId} does not run here`);
    const doing = work({ sandbox, cgroups: this.#cgroups, filter: this.#filter, entries: this.#entries });
    sandbox.work.add(doing);
    try {
      return await doing;
    } finally {
      sandbox.work.delete(doing);
    }
  }
}
