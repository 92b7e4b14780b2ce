// SPDX-License-Identifier: Apache-2.0
/**
 * One machine on this host, and the surroundings its operations work with.
 *
 *   starting → running → ending → (gone: its proof waits in the store for control)
 *
 * `turn` is the machine's own queue: start and end never overlap, whatever arrives meanwhile.
 */
import type { Isolation, MachineSpec, Observation } from "#contract/link/machine.ts";
import type { Residues } from "#contract/link/residues.ts";
import { type Driver, DriverFault, type EndFacts } from "#drivers/driver.ts";
import type { Trigger } from "#evidence/proofs/document.ts";
import type { BootFacts } from "./boot.ts";
import type { Ceiling } from "./ceiling.ts";
import type { EventChain } from "./event-chain.ts";
import type { Signer } from "./signer/signer.ts";
import type { MachineStore } from "./store.ts";

export interface Machine {
  readonly id: string;
  readonly spec: MachineSpec;
  readonly driver: Driver<EndFacts>;
  readonly events: EventChain;
  generation: number;
  state: "starting" | "running" | "ending";
  /** Why it goes down; the first reason stays. */
  trigger: Trigger | null;
  turn: Promise<void>;
}

export interface HostDeps {
  store: MachineStore;
  signer: Signer;
  drivers: ReadonlyMap<Isolation, Driver<EndFacts>>;
  boot: BootFacts;
  ceiling: Ceiling;
  eventsFolder: string;
  /** What control's database still holds of a machine; null when it did not say. */
  findResidues: (machineId: string) => Promise<Residues | null>;
  log: HostLog;
  /** Pauses of a retry; tests shorten them. */
  retry: { firstMs: number; mostMs: number };
  /** Aborted when the host has no more time to retry. */
  stopping: AbortSignal;
}

/** Structured, without anything of the customer's. */
export type HostLog = (event: string, facts: Record<string, unknown>) => void;

export function failed(machineId: string, generation: number, error: unknown): Observation {
  const known = error instanceof DriverFault;
  return {
    machineId,
    generation,
    state: "failed",
    code: known ? error.code : "machine.start-failed",
    // Only a driver's own words are public; another error's may hold paths or worse.
    detail: known ? error.message.slice(0, 1000) : "the host could not start the machine",
  };
}
