// SPDX-License-Identifier: Apache-2.0
/**
 * The driver port: one way of making an isolated place. A driver imports this file and the platform;
 * it reads no environment and knows no surface. Everything it is told comes in its constructor and
 * in the calls below.
 */
import type { ExecResult, Isolation, MachineSpec } from "#contract/link/machine.ts";
import type {
  ForensicMeasured,
  IdentityMeasured,
  NamespaceMeasured,
  OverwriteMeasured,
  StepRecord,
  TmpfsMeasured,
} from "#evidence/proofs/document.ts";

export interface DriverProbe {
  ready: boolean;
  /** One line saying what is missing and what to do, or null. */
  missing: string | null;
  limits: "v2" | "v1" | "rlimits";
  /** True when every machine gets a uid of its own. */
  privileged: boolean;
}

export interface ExecAsk {
  command: string;
  cwd?: string;
  env?: Record<string, string>;
  timeoutMs: number;
  /** Bytes for /run/casemate/input/data, placed before the command starts and kept until replaced. */
  input: AsyncIterable<Uint8Array> | null;
  outputLimitBytes: number | null;
  /** Called in order; the driver waits for it, so a slow reader slows the program. */
  onOutput(channel: 1 | 2, bytes: Uint8Array): Promise<void> | void;
  /** Ends the command as a timeout does, but `timedOut` stays false. */
  signal?: AbortSignal;
}

/**
 * What a driver must remember of a machine to end it and to speak of its start after this process
 * died; the host keeps it in its own durable, encrypted store. Plain JSON.
 */
export type DriverRecord = Record<string, unknown>;

/**
 * What a driver measured while it ended one machine: steps 1, 2, 3, 5 and 6 of the destruction
 * proof. The host adds steps 4, 7 and 8. Plain JSON but for the dates in the step records.
 */
export interface EndFacts {
  /** The machine's salt, under which salted members were made; for the owner only. */
  saltHex: string;
  canaryHex: string;
  steps: {
    namespace: StepRecord<NamespaceMeasured>;
    tmpfs: StepRecord<TmpfsMeasured>;
    overwrite: StepRecord<OverwriteMeasured>;
    identity: StepRecord<IdentityMeasured>;
    forensic: StepRecord<ForensicMeasured>;
  };
  /** Members of the proof's closed `limits` list that hold for this machine. */
  limits: string[];
  /** Digest of the root template, or null for the host's own /usr. */
  rootDigest: string | null;
  /** The kernel killed something in it for memory. */
  oom: boolean;
}

export interface StartedMachine {
  /** To be stored before the machine is reported as running. */
  record: DriverRecord;
}

export interface Driver<Facts = unknown> {
  readonly isolation: Isolation;
  probe(): Promise<DriverProbe>;
  /** Resolves when a command can run in it. Rejects with nothing left behind. */
  start(
    machineId: string,
    spec: MachineSpec,
    onRecord: (record: DriverRecord) => Promise<void>,
  ): Promise<StartedMachine>;
  exec(machineId: string, ask: ExecAsk): Promise<ExecResult>;
  /** Paths are relative to the machine's working folder; bytes are written with the machine's own rights, never the host's. */
  putFile(
    machineId: string,
    path: string,
    bytes: AsyncIterable<Uint8Array>,
    limitBytes: number,
  ): Promise<{ sizeBytes: number }>;
  getFile(
    machineId: string,
    path: string,
    onBytes: (bytes: Uint8Array) => Promise<void> | void,
  ): Promise<{ sizeBytes: number }>;
  removeFile(machineId: string, path: string): Promise<void>;
  /** Called once when the machine dies by itself (its first process is gone), with the reason. */
  onDeath(listener: (machineId: string, reason: "oom" | "exited") => void): void;
  /** Ends the machine whatever it does and returns what was measured. Idempotent until `forget`. */
  stop(machineId: string): Promise<Facts>;
  /** Ends what an earlier process left of this machine, from its record alone. */
  recover(machineId: string, record: DriverRecord): Promise<Facts>;
  /** Ends every machine of this driver that is not in `keep` (found by its marks on the system). Returns how many. */
  reap(keep: ReadonlySet<string>): Promise<number>;
  /** Machines alive in this process. */
  live(): string[];
  /** The record of an ended machine may be dropped: its proof is stored elsewhere. */
  forget?(machineId: string): void;
  /** False when the prober cannot read the process and mount tables. */
  selfTest?(): Promise<boolean>;
  /** Ends what the driver keeps running for itself; its machines have been stopped. */
  close?(): Promise<void>;
}

/** Thrown by a driver; `code` is from contract/errors.ts. */
export class DriverFault extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
