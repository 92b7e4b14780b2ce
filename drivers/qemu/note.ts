// SPDX-License-Identifier: Apache-2.0
/** What the driver keeps of a machine on disk, without a secret. A machine is there from its note to the removal of its note. */
import type { Addresses } from "./network/addresses.ts";
import type { Door } from "./network/doors.ts";
import type { NameServers } from "./network/name-servers.ts";
import type { Uids } from "./place.ts";
import type { Known } from "./processes.ts";

export interface VmNote {
  v: 1;
  /** `starting` until its guest was up: what is found so after a kill is half a machine. */
  phase: "starting" | "running" | "halted";
  /** Null when QEMU runs as the host does. */
  uids: Uids | null;
  /** Null before QEMU was started. */
  qemu: Known | null;
  /** What plays its TPM; null: it has none. */
  tpm: Known | null;
  accelerator: "kvm" | "tcg";
  cpus: number;
  memoryMiB: number;
  stateMiB: number;
  /** Where the guest's public port is reached by QEMU's own network stack; null: it has none, or a network of its own. */
  hostPort: number | null;
  /** Null: it has no network of its own. */
  network: VmNetwork | null;
}

/** What is needed to make its rules and doors anew. */
export interface VmNetwork {
  addresses: Addresses;
  doors: Door[];
  nameServers: NameServers;
  /** What it may send in its life; absent: what it likes. */
  egressLimitBytes?: number;
  /** The guest's own, that the ingress reaches. */
  publicPort: number | null;
}
