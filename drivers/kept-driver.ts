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
 *  G. A disk that is written is there whole or not at all: a process that is killed half way leaves nothing
 *     that a start or a read would take for it.
 *  H. What a machine with a limit has sent is counted over all its starts, restarts of this process and of the computer, and its
 *     limit never begins anew.
 */
import type { ContainerFacts, EgressFacts, MachineStats } from "#contract/link/kept.ts";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { Payload } from "#contract/link/payload.ts";
import type { EvidencePurpose, GuestEvidence } from "#guest/protocol.ts";

export type { ContainerFacts, EgressFacts, MachineStats };

export interface KeptProbe {
  ready: boolean;
  /** One line saying what is missing and what to do, or null. */
  missing: string | null;
  /** Of virtual machines: whether a processor runs their instructions, or a program does, many times slower. */
  accelerator?: "kvm" | "tcg";
  /** It is not ready and is finding out whether it will be. */
  looking?: boolean;
  /** What vouches for the TPMs of its machines: DER in base64, the root last. */
  endorsers?: string[];
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
  /** Of `halted`: it was shut down from inside, and did not fall. */
  orderly?: true;
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
  /** Of drivers whose machines attest themselves; a start of one without these fails. */
  inside?: InsideHooks;
  signal: AbortSignal;
}

/** What a machine that holds keys of its own needs of others. */
export interface InsideHooks {
  /**
   * The box of its secrets, sealed to its key. Whoever gives it asks
   * `attested` first, while the start waits here. Rejects with a DriverFault when they are refused.
   */
  secrets(): Promise<Uint8Array>;
  /** A chain (PEM) for the key of this request (DER), for the machine's domains and no others. */
  certify(request: Uint8Array): Promise<string>;
}

/** A machine that answers about itself. It is not believed: what it says is judged by whoever asked. */
export interface AttestedMachine {
  readonly keys: { sealing: string; tls: string };
  evidence(purpose: EvidencePurpose, nonceHex: string): Promise<GuestEvidence>;
  activate(credential: string, secret: string): Promise<string>;
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
  /** The machine holds the key: TLS is carried to it unopened. */
  tlsInside?: true;
  /** It is an SSH server, and shows one of these keys (lines of type and key), as the machine said inside. */
  ssh?: { hostKeys: readonly string[] };
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

/** A stretch of a disk, in the order of the disk; what no part holds is zeros. The last one has no bytes and stands at the disk's end. */
export interface DiskPart {
  offset: number;
  bytes: Uint8Array;
}

export interface KeptDriver {
  readonly isolation: "container" | "system-container" | "vm" | "vm-vtpm" | "vm-snp" | "vm-tdx";
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
  /**
   * Present when machines of this driver attest themselves. Also while a start of it waits for its secrets: questions of that
   * start are asked at once, all others in their turn, since whoever may see a machine may ask for its evidence.
   */
  attested?(machineId: string, asked?: { ofStart: boolean }): Promise<AttestedMachine>;
  /**
   * Of drivers whose machines hold keys: who signs the next certificate of a machine that runs, also of one that an earlier process
   * started, for its names as they are by then. What a start is given (`InsideHooks.certify`) ends with the start.
   */
  certifyBy?(certify: (machineId: string, request: Uint8Array) => Promise<string>): void;
  /**
   * Of drivers whose machines somebody logs in to: a box for one that runs, sealed to its key, which says anew who is let in. Rejects when
   * the machine does not take it.
   */
  claimAnew?(machineId: string, box: Uint8Array): Promise<void>;
  /** Its names are others now, or somebody else signs for them: a machine that runs is given another certificate at once. */
  certifyAnew?(machineId: string): void;
  /**
   * Of drivers whose machines' disks are ciphertext, which another host may hold. Rejects when there is no disk or anything of the
   * machine runs; nothing is started before the last part was read or the signal says that it will not be.
   */
  readDisk?(machineId: string, signal: AbortSignal): Promise<AsyncIterable<DiskPart>>;
  /**
   * G. Of a machine of which nothing runs. Parts that throw are a disk that does not come. Resolves when the disk is where the
   * next start looks for it, on disk; whatever was there is replaced.
   */
  writeDisk?(machineId: string, parts: AsyncIterable<DiskPart>, signal: AbortSignal): Promise<void>;
  /**
   * H. Of drivers that count: what every machine of theirs with a limit (`kept.egressLimitBytes`) has sent, as it is now. One of which
   * nothing is said is not counted.
   */
  egress?(): Promise<EgressFacts[]>;
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
