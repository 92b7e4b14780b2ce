// SPDX-License-Identifier: Apache-2.0
/**
 * The port of drivers whose machines are kept: they outlive the host process, can be halted and
 * started again with their disk, and end without a destruction proof. A driver imports this file and
 * the platform; it reads no environment and knows no surface.
 *
 * What every implementation keeps:
 *  A. `start` converges: whatever ran of this machine before (an older payload, half a start) is
 *     replaced, disks stay. It resolves when every part of the payload has been started, and rejects
 *     with nothing of the machine running.
 *  B. `halt` ends everything that runs and releases memory and cpu; disks and what was pulled stay.
 *  C. `remove` leaves nothing of the machine: processes, networks, disks, files, rules. Idempotent,
 *     also for a machine that never was.
 *  D. Nothing of the payload's secrets is left on a disk once `start` has resolved or rejected.
 *  E. From inside a machine the host's own addresses, other machines and link-local metadata addresses
 *     cannot be reached.
 *  F. From a start (or a `find` that said running) on, what becomes of the machine by itself is told
 *     until somebody ends it. An engine that does not answer is no news of any machine: what became of
 *     them is told when it is back. A start that meets such an engine rejects with `host.not-ready`,
 *     and of A only this is left: what may run is replaced by the next start.
 */
import type { ContainerFacts, MachineStats } from "#contract/link/kept.ts";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { Payload } from "#contract/link/payload.ts";

export type { ContainerFacts, MachineStats };

export interface KeptProbe {
  ready: boolean;
  /** One line saying what is missing and what to do, or null. */
  missing: string | null;
}

export type KeptState = "running" | "halted" | "gone";

/**
 * `running`: with words about a part that is not the public service; with an endpoint when the public
 * service is back. `restarting`: the public service is down and is being brought back by what runs the
 * machine. `interrupted`: ended from outside, as by a restart of the engine; it is to be started anew.
 * `halted`: ended by itself, for good.
 */
export interface KeptChange {
  state: "running" | "restarting" | "interrupted" | "halted";
  /** Public words. */
  detail: string;
  endpoint?: Endpoint;
}

/** What a driver must remember to find the machine again. Plain JSON, no secret. */
export type KeptRecord = Record<string, unknown>;

export interface KeptStart {
  /** Called before anything is made, so that a kill at any moment leaves nothing unfindable. */
  onRecord(record: KeptRecord): Promise<void>;
  /** Progress in public words (`pulling caddy:2`), in order. */
  onProgress(text: string): void;
  /** Of a service, before anything of it runs: the exact image that its reference means now. */
  onImage(image: ResolvedImage): void;
  signal: AbortSignal;
}

export interface ResolvedImage {
  service: string;
  /** As the payload has it. */
  reference: string;
  /** `name@sha256:…` of a registry, or the bare id of an image that came from none. */
  digest: string;
}

/** Where the host's ingress reaches the payload's public port. */
export interface Endpoint {
  host: string;
  port: number;
}

export interface LogsAsk {
  /** null: the machine's own log (its start, progress and faults), kept by the driver. */
  container: string | null;
  stream: "stdout" | "stderr" | "both";
  /** True: the newest lines, false: the oldest. */
  tail: boolean;
  linesMax: number;
  /** ISO 8601; only lines after it. */
  since?: string;
  /** Stays open and gives lines as they come, until aborted or the container is gone. */
  follow: boolean;
  timestamps: boolean;
  signal: AbortSignal;
}

export interface KeptDriver {
  readonly isolation: "container" | "vm" | "vm-vtpm" | "vm-snp" | "vm-tdx";
  probe(): Promise<KeptProbe>;
  start(
    machineId: string,
    spec: MachineSpec,
    payload: Payload,
    hooks: KeptStart,
  ): Promise<{ record: KeptRecord; endpoint: Endpoint }>;
  halt(machineId: string, record: KeptRecord | null): Promise<void>;
  remove(machineId: string, record: KeptRecord | null): Promise<void>;
  /** What is there of a machine that an earlier process started. */
  find(machineId: string, record: KeptRecord): Promise<{ state: KeptState; endpoint: Endpoint | null }>;
  containers(machineId: string): Promise<ContainerFacts[]>;
  logs(machineId: string, ask: LogsAsk): AsyncIterable<string>;
  stats(machineId: string): Promise<MachineStats>;
  /** F. */
  onChange(listener: (machineId: string, change: KeptChange) => void): void;
  /** Whether what runs machines answers, so that a start could be tried. Cheap, and never rejects. */
  answers(): Promise<boolean>;
  /** Ids of machines of which this installation, and certainly no other, left anything. */
  list(): Promise<Set<string>>;
  /** Removes every machine of this driver that is not in `keep` (found by its marks). Returns how many. */
  reap(keep: ReadonlySet<string>): Promise<number>;
  close(): Promise<void>;
}
