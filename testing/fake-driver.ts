// SPDX-License-Identifier: Apache-2.0
/**
 * A driver without isolation, for tests of what stands above drivers. Everything in it is real but the
 * walls: a machine is a folder and a `sleep` process of its own group, commands run in that folder
 * with `sh`, an end kills, looks, overwrites, removes and looks again, and what it reports is what it
 * saw. Its marks on the system (folder and process) are found again by a later process, as a real
 * driver's are.
 */
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { appendFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { ExecResult, MachineSpec } from "#contract/link/machine.ts";
import {
  type Driver,
  DriverFault,
  type DriverProbe,
  type DriverRecord,
  type EndFacts,
  type ExecAsk,
  type StartedMachine,
} from "#drivers/driver.ts";
import { digestText, probeRoot, salted } from "#evidence/proofs/hash.ts";

export interface FakeDriverOptions {
  folder: string;
  /** Awaited at named points, so that a test can stop or break the driver there. */
  at?: (point: "start" | "recorded" | "stop" | "recover", machineId: string) => Promise<void> | void;
  /** Processes left alive by an end, to see step 1 fail. */
  spare?: () => boolean;
}

interface FakeRecord extends DriverRecord {
  saltHex: string;
  canaryHex: string;
  pid: number;
}

export class FakeDriver implements Driver<EndFacts> {
  readonly isolation = "process" as const;
  readonly #options: FakeDriverOptions;
  readonly #machines = new Map<string, FakeRecord>();
  readonly #ended = new Map<string, EndFacts>();
  readonly #listeners: ((machineId: string, reason: "oom" | "exited") => void)[] = [];

  constructor(options: FakeDriverOptions) {
    this.#options = options;
    mkdirSync(options.folder, { recursive: true, mode: 0o700 });
  }

  async probe(): Promise<DriverProbe> {
    return { ready: true, missing: null, limits: "rlimits", privileged: false };
  }

  async start(
    machineId: string,
    _spec: MachineSpec,
    onRecord: (record: DriverRecord) => Promise<void>,
  ): Promise<StartedMachine> {
    const folder = this.#folder(machineId);
    await this.#options.at?.("start", machineId);
    mkdirSync(folder, { mode: 0o700 });
    // The machine's name on the command line is the mark by which a later process finds it.
    const child = spawn("sh", ["-c", "sleep 600 & wait", machineId], {
      cwd: folder,
      detached: true,
      stdio: "ignore",
    });
    const record: FakeRecord = {
      saltHex: randomBytes(32).toString("hex"),
      canaryHex: randomBytes(32).toString("hex"),
      pid: child.pid!,
    };
    child.once("exit", () => {
      if (this.#machines.delete(machineId)) this.#dead(machineId, record);
    });
    child.unref();
    try {
      writeFileSync(join(folder, "canary"), record.canaryHex);
      await onRecord(record);
      await this.#options.at?.("recorded", machineId);
    } catch (error) {
      killGroup(record.pid);
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
    this.#machines.set(machineId, record);
    return { record };
  }

  async exec(machineId: string, ask: ExecAsk): Promise<ExecResult> {
    this.#require(machineId);
    const folder = this.#folder(machineId);
    if (ask.input) {
      await rm(join(folder, "input"), { force: true });
      for await (const bytes of ask.input) await appendFile(join(folder, "input"), bytes);
    }
    const began = performance.now();
    const child = spawn("sh", ["-c", ask.command, machineId], {
      cwd: folder,
      env: { PATH: "/usr/bin:/bin", ...ask.env },
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let timedOut = false;
    const end = () => signalGroup(child.pid!, "SIGTERM");
    const timer = setTimeout(() => {
      timedOut = true;
      end();
    }, ask.timeoutMs);
    ask.signal?.addEventListener("abort", end, { once: true });
    if (ask.signal?.aborted) end();
    let truncated = false;
    const pump = async (channel: 1 | 2, stream: AsyncIterable<Uint8Array>) => {
      let left = ask.outputLimitBytes ?? Number.POSITIVE_INFINITY;
      for await (const bytes of stream) {
        if (bytes.length > left) truncated = true;
        const kept = bytes.subarray(0, Math.min(left, bytes.length));
        left -= kept.length;
        if (kept.length > 0) await ask.onOutput(channel, kept);
      }
    };
    const code = new Promise<number>((resolve) =>
      child.once("exit", (exitCode, signal) => resolve(exitCode ?? (signal === "SIGKILL" ? 137 : 143))),
    );
    await Promise.all([pump(1, child.stdout), pump(2, child.stderr), code]);
    clearTimeout(timer);
    ask.signal?.removeEventListener("abort", end);
    killGroup(child.pid!);
    return {
      exitCode: timedOut ? 124 : await code,
      timedOut,
      oomKilled: false,
      outputTruncated: truncated,
      durationMs: Math.round(performance.now() - began),
    };
  }

  async putFile(machineId: string, path: string, bytes: AsyncIterable<Uint8Array>, limitBytes: number) {
    this.#require(machineId);
    const target = join(this.#folder(machineId), path);
    const beside = `${target}.part`;
    let sizeBytes = 0;
    try {
      mkdirSync(dirname(target), { recursive: true });
      await writeFile(beside, "");
      for await (const chunk of bytes) {
        sizeBytes += chunk.length;
        if (sizeBytes > limitBytes) throw new DriverFault("machine.file-too-large", "over the limit");
        await appendFile(beside, chunk);
      }
      await writeFile(target, readFileSync(beside));
    } finally {
      await rm(beside, { force: true });
    }
    return { sizeBytes };
  }

  async getFile(machineId: string, path: string, onBytes: (bytes: Uint8Array) => Promise<void> | void) {
    this.#require(machineId);
    const target = join(this.#folder(machineId), path);
    if (!existsSync(target)) throw new DriverFault("machine.file-not-found", "no such file");
    const bytes = readFileSync(target);
    await onBytes(bytes);
    return { sizeBytes: bytes.length };
  }

  async removeFile(machineId: string, path: string): Promise<void> {
    this.#require(machineId);
    await rm(join(this.#folder(machineId), path));
  }

  onDeath(listener: (machineId: string, reason: "oom" | "exited") => void): void {
    this.#listeners.push(listener);
  }

  async stop(machineId: string): Promise<EndFacts> {
    const before = this.#ended.get(machineId);
    if (before) return before;
    const record = this.#require(machineId);
    await this.#options.at?.("stop", machineId);
    this.#machines.delete(machineId);
    const facts = await this.#teardown(machineId, record, false);
    this.#ended.set(machineId, facts);
    return facts;
  }

  async recover(machineId: string, record: DriverRecord): Promise<EndFacts> {
    await this.#options.at?.("recover", machineId);
    return this.#teardown(machineId, record as FakeRecord, true);
  }

  async reap(keep: ReadonlySet<string>): Promise<number> {
    const found = new Set(readdirSync(this.#options.folder));
    for (const { machineId } of markedProcesses()) if (this.#mine(machineId)) found.add(machineId);
    let reaped = 0;
    for (const machineId of found) {
      if (keep.has(machineId)) continue;
      reaped += 1;
      killMarked(machineId);
      rmSync(this.#folder(machineId), { recursive: true, force: true });
    }
    return reaped;
  }

  live(): string[] {
    return [...this.#machines.keys()];
  }

  forget(machineId: string): void {
    this.#ended.delete(machineId);
  }

  #folder(machineId: string): string {
    return join(this.#options.folder, machineId);
  }

  #require(machineId: string): FakeRecord {
    const record = this.#machines.get(machineId) ?? this.#died.get(machineId);
    if (!record) throw new DriverFault("machine.not-running", "no such machine");
    return record;
  }

  readonly #died = new Map<string, FakeRecord>();

  #dead(machineId: string, record: FakeRecord): void {
    this.#died.set(machineId, record);
    for (const listener of this.#listeners) listener(machineId, "exited");
  }

  /** A marked process belongs to this driver when it works in this driver's folder. */
  #mine(machineId: string): boolean {
    return existsSync(this.#folder(machineId));
  }

  async #teardown(machineId: string, record: FakeRecord, recovered: boolean): Promise<EndFacts> {
    const { saltHex, canaryHex } = record;
    const folder = this.#folder(machineId);
    const startedAt = new Date();
    if (!this.#options.spare?.()) {
      killGroup(record.pid);
      killMarked(machineId);
      for (let tries = 0; tries < 200 && tasksOf(machineId, record.pid) > 0; tries++)
        await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const tasks = tasksOf(machineId, record.pid);
    const files = existsSync(folder)
      ? readdirSync(folder, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
      : [];
    let overwritten = 0;
    const digests: string[] = [];
    if (!recovered)
      for (const name of files) {
        const { length } = readFileSync(join(folder, name));
        const zeros = Buffer.alloc(length);
        writeFileSync(join(folder, name), zeros);
        overwritten += length;
        digests.push(createHash("sha256").update(zeros).digest("hex"));
      }
    rmSync(folder, { recursive: true, force: true });
    const left = existsSync(folder);
    this.#died.delete(machineId);

    const step = <M>(ok: boolean, measured: M) => ({
      startedAt,
      endedAt: new Date(),
      durationMs: Math.round(Date.now() - startedAt.getTime()),
      ok,
      measured,
      skipped: [],
    });
    const probes = [
      { name: "processes", expected: "0", observed: String(tasks), ok: tasks === 0 },
      { name: "folder", expected: "absent", observed: left ? "present" : "absent", ok: !left },
    ];
    return {
      saltHex,
      canaryHex,
      steps: {
        namespace: step(tasks === 0, {
          canary_sha256: digestText(Buffer.from(canaryHex, "hex")),
          namespaces: [{ kind: "pid" as const, inode: salted(saltHex, "inode", String(record.pid)) }],
          seccomp_mode: null,
          no_new_privs: null,
          capabilities_effective: null,
          network_mode: "none" as const,
          tasks_found: tasks,
          kill_method: "process group",
          empty_after_ms: 0,
        }),
        tmpfs: step(!left, { mounts: [] }),
        overwrite: step(true, {
          passes: recovered ? 0 : 1,
          files_overwritten: recovered ? 0 : files.length,
          bytes_overwritten: overwritten,
          bytes_skipped: 0,
          read_back_ok: recovered ? null : true,
          swap_devices: null,
          noswap: false,
          zswap: null,
          init_on_free: null,
          core_limit_bytes: 0,
        }),
        identity: step(true, {
          tokens_released: 0,
          uid: null,
          uid_released: null,
          cgroup_removed: null,
          slots_released: 1,
          lookup_absent: true,
        }),
        forensic: step(tasks === 0 && !left, {
          zero_root: null,
          zero_chunks: 0,
          chunk_bytes: 1048576 as const,
          probe_root: probeRoot(probes),
          probes,
        }),
      },
      limits: [
        "host_root_shared",
        "shared_uid",
        "no_cgroup",
        "start_facts_lost",
        recovered ? "overwrite_not_claimed" : "single_pass",
      ],
      rootDigest: null,
      oom: false,
    };
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already.
  }
}

const killGroup = (pid: number) => signalGroup(pid, "SIGKILL");

/** Every process with a machine's name as an argument of its own. */
export function markedProcesses(): { pid: number; machineId: string }[] {
  const found: { pid: number; machineId: string }[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      if (stat.slice(stat.lastIndexOf(")") + 2)[0] === "Z") continue;
      const last = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0").at(-2) ?? "";
      if (/^mach_[0-9a-f]{32}$/.test(last)) found.push({ pid: Number(name), machineId: last });
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

/** Kills every process of the machine, as somebody with root on the host would. */
export function killMarked(machineId: string): void {
  for (const found of markedProcesses()) if (found.machineId === machineId) killGroup(found.pid);
}

function tasksOf(machineId: string, leader: number): number {
  let count = markedProcesses().filter((found) => found.machineId === machineId).length;
  try {
    process.kill(-leader, 0);
    const stat = readFileSync(`/proc/${leader}/stat`, "utf8");
    if (stat.slice(stat.lastIndexOf(")") + 2)[0] !== "Z") count += 1;
  } catch {
    // The group is empty, or only its unreaped leader is left.
  }
  return count;
}
