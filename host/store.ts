// SPDX-License-Identifier: Apache-2.0
/**
 * What the host must still know after it was killed: one small sealed file per machine and phase.
 *
 *   live   → the machine may exist: how to end it. Sealed under a data key of its own, which is kept
 *            in memory and, wrapped by the host's key, in the same file.
 *   ending → it was ended and measured, and its proof is not signed yet. Under the host's key.
 *   ended  → the signed proof, until control has acknowledged it. Under the host's key.
 *
 * Invariants:
 *  A. A machine is in at least one phase from its first record until the acknowledgement: the file of
 *     a later phase is durable before the file of the earlier one goes.
 *  B. The later phase wins when two files are found.
 *  C. After `releaseKey` the data key is zeros in memory and its wrapped copy is gone from the folder:
 *     salt, canary and driver record of the machine can no longer be read from it.
 *  D. One process holds the folder.
 *
 * Flushing. A live record is not waited for: kill -9 leaves the page cache, and a machine crash ends
 * every sandbox anyway; what a crash within those milliseconds loses is only the proof of a machine
 * control had hardly heard of, and control then sees the machine as unknown. Waiting would put one
 * flush (0.5 ms here, 5–20 ms on a slow disk) on every create. The evidence is waited
 * for, since it cannot be measured again. The proof is not: what it is signed over stays until it is flushed.
 */
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import type { EndProof, Isolation, Observation } from "#contract/link/machine.ts";
import type { DriverRecord, EndFacts } from "#drivers/driver.ts";
import type { Trigger } from "#evidence/proofs/document.ts";
import { BlankFiles } from "./blank-files.ts";
import { eraseFile, type Flush, FlushLane, keyFile, replaceFile, TEMPORARY } from "./durable-file.ts";
import { deriveKey, KEY_BYTES, seal, unseal } from "./seal.ts";

export interface LiveEntry {
  machineId: string;
  generation: number;
  isolation: Isolation;
  subject: EndProof["subject"];
  bootId: string;
  record: DriverRecord;
}

export interface EndingEntry {
  live: Omit<LiveEntry, "record">;
  trigger: Trigger;
  facts: EndFacts;
  events: { head: string; count: number };
  /** Set when the process that measured had not started the machine. */
  recovered: { bootIdBefore: string; bootIdAfter: string } | null;
}

export interface EndedEntry {
  observation: Observation;
}

export interface KeyRelease {
  wiped: boolean | null;
}

const SUFFIX = { live: ".live", ending: ".ending", ended: ".ended" } as const;
type Phase = keyof typeof SUFFIX;

export class MachineStore {
  readonly live = new Map<string, LiveEntry>();
  readonly ending = new Map<string, EndingEntry>();
  readonly ended = new Map<string, EndedEntry>();
  /** Files that could not be read; kept aside for the operator, never silently dropped. */
  readonly unreadable: string[] = [];
  /** For other files of machines beside these. */
  readonly blanks: BlankFiles;

  readonly #folder: string;
  readonly #wrapKey: Buffer;
  readonly #outboxKey: Buffer;
  readonly #dataKeys = new Map<string, Buffer>();
  readonly #lock: Server;
  readonly #lane: FlushLane;

  private constructor(folder: string, hostKey: Buffer, lock: Server, onLateFault: (error: unknown) => void) {
    this.#folder = join(folder, "machines");
    this.blanks = new BlankFiles(join(folder, "blank"));
    this.#wrapKey = deriveKey(hostKey, "casemate/host/wrap/1");
    this.#outboxKey = deriveKey(hostKey, "casemate/host/outbox/1");
    this.#lock = lock;
    this.#lane = new FlushLane(onLateFault);
  }

  static async open(folder: string, onLateFault: (error: unknown) => void = () => {}): Promise<MachineStore> {
    mkdirSync(join(folder, "machines"), { recursive: true, mode: 0o700 });
    const lock = await lockFolder(folder);
    try {
      const hostKey = await keyFile(join(folder, "host.key"));
      const store = new MachineStore(folder, hostKey, lock, onLateFault);
      hostKey.fill(0);
      store.#load();
      return store;
    } catch (error) {
      lock.close();
      throw error;
    }
  }

  async putLive(entry: LiveEntry): Promise<void> {
    const id = entry.machineId;
    const dataKey = this.#dataKeys.get(id) ?? randomBytes(KEY_BYTES);
    this.#dataKeys.set(id, dataKey);
    const wrapped = seal(this.#wrapKey, `key/${id}`, dataKey);
    const body = seal(dataKey, `live/${id}`, Buffer.from(JSON.stringify(entry)));
    try {
      const sealed = Buffer.concat([wrapped, body]);
      await replaceFile(this.#path(id, "live"), sealed, { behind: this.#lane }, this.blanks);
    } catch (error) {
      if (!this.live.has(id)) this.#zeroKey(id);
      throw error;
    }
    this.live.set(id, entry);
  }

  /** A machine that never ran: nothing to prove. */
  async dropLive(machineId: string): Promise<void> {
    this.#zeroKey(machineId);
    this.live.delete(machineId);
    await eraseFile(this.#path(machineId, "live"), this.blanks);
  }

  async putEnding(entry: EndingEntry): Promise<void> {
    // By name: the live file is overwritten in place next, which no journal can take back.
    await this.#putOutbox(entry.live.machineId, "ending", entry, "name");
    this.ending.set(entry.live.machineId, entry);
  }

  /** C. To be called once the machine is in `ending`. */
  async releaseKey(machineId: string): Promise<KeyRelease> {
    const wiped = this.#zeroKey(machineId);
    this.live.delete(machineId);
    await eraseFile(this.#path(machineId, "live"), this.blanks);
    return { wiped };
  }

  async putEnded(observation: Observation): Promise<void> {
    const id = observation.machineId;
    await this.#putOutbox(id, "ended", { observation }, { behind: this.#lane });
    this.ended.set(id, { observation });
    this.ending.delete(id);
    // A: until then a crash of the machine finds the file of the earlier phase, and the proof is signed anew.
    void this.#lane
      .drained()
      .then(() => this.blanks.remove(this.#path(id, "ending")))
      .catch(() => {});
  }

  /** Files of the machine's name that are none of its phases: not made by this store, or not taken away. */
  strays(machineId: string): string[] {
    const own = new Set(Object.values(SUFFIX).map((suffix) => machineId + suffix));
    return readdirSync(this.#folder).filter((name) => name.startsWith(machineId) && !own.has(name));
  }

  async forget(machineId: string): Promise<void> {
    this.ended.delete(machineId);
    await this.#lane.drained();
    this.blanks.remove(this.#path(machineId, "ending"));
    this.blanks.remove(this.#path(machineId, "ended"));
  }

  async close(): Promise<void> {
    await this.#lane.drained();
    for (const id of [...this.#dataKeys.keys()]) this.#zeroKey(id);
    this.#wrapKey.fill(0);
    this.#outboxKey.fill(0);
    await new Promise<void>((resolve) => this.#lock.close(() => resolve()));
  }

  #path(machineId: string, phase: Phase): string {
    return join(this.#folder, machineId + SUFFIX[phase]);
  }

  async #putOutbox(
    machineId: string,
    phase: "ending" | "ended",
    entry: unknown,
    flush: Flush,
  ): Promise<void> {
    const sealed = seal(this.#outboxKey, `${phase}/${machineId}`, Buffer.from(JSON.stringify(entry)));
    await replaceFile(this.#path(machineId, phase), sealed, flush, this.blanks);
  }

  /** Null when this process never held the key: it died with the one that did. */
  #zeroKey(machineId: string): boolean | null {
    const key = this.#dataKeys.get(machineId);
    if (!key) return null;
    key.fill(0);
    this.#dataKeys.delete(machineId);
    return key.every((byte) => byte === 0);
  }

  #load(): void {
    for (const name of readdirSync(this.#folder).sort()) {
      const path = join(this.#folder, name);
      if (name.endsWith(TEMPORARY)) {
        rmSync(path, { force: true });
        continue;
      }
      const match = /^(mach_[0-9a-f]{32})\.(live|ending|ended)$/.exec(name);
      if (!match) continue;
      try {
        this.#read(match[1]!, match[2] as Phase, readFileSync(path));
      } catch {
        this.unreadable.push(name);
      }
    }
    for (const id of this.ended.keys()) this.ending.delete(id);
    for (const id of [...this.ended.keys(), ...this.ending.keys()]) this.live.delete(id);
  }

  #read(id: string, phase: Phase, bytes: Buffer): void {
    if (phase === "live") {
      const wrappedBytes = KEY_BYTES + 12 + 16;
      const dataKey = unseal(this.#wrapKey, `key/${id}`, bytes.subarray(0, wrappedBytes));
      const body = unseal(dataKey, `live/${id}`, bytes.subarray(wrappedBytes));
      // Not kept: the key that lived died with the earlier process, and step 4 says so.
      dataKey.fill(0);
      this.live.set(id, JSON.parse(body.toString()));
      return;
    }
    const body = JSON.parse(unseal(this.#outboxKey, `${phase}/${id}`, bytes).toString(), revive);
    if (phase === "ending") this.ending.set(id, body);
    else this.ended.set(id, body);
  }
}

/** The dates of the step records. */
function revive(key: string, value: unknown): unknown {
  return (key === "startedAt" || key === "endedAt") && typeof value === "string" && value.length === 24
    ? new Date(value)
    : value;
}

/**
 * D, by an abstract unix socket named after the folder: it goes with its process whatever kills it,
 * where a pid file would outlive it. Another user could take the name first and keep the host from
 * starting; that is all they would gain.
 */
async function lockFolder(folder: string): Promise<Server> {
  const name = createHash("sha256").update(realpathSync(folder)).digest("hex").slice(0, 40);
  const lock = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    lock.once("error", (error: NodeJS.ErrnoException) =>
      reject(error.code === "EADDRINUSE" ? new Error(`another host process holds ${folder}`) : error),
    );
    lock.listen(`\0casemate-host-${name}`, resolve);
  });
  lock.unref();
  return lock;
}
