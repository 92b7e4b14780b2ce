// SPDX-License-Identifier: Apache-2.0
/** What the driver keeps of a machine on disk, without a secret. A machine is there from its note to the removal of its note. */
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
  accelerator: "kvm" | "tcg";
  cpus: number;
  memoryMiB: number;
  stateMiB: number;
  /** Where the guest's public port is reached; null: it has none. */
  hostPort: number | null;
}
