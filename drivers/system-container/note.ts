// SPDX-License-Identifier: Apache-2.0
/** What the driver keeps of a system container on disk, without a secret. It is there from its note to the removal of its note. */
import type { VmNetwork } from "../qemu/note.ts";
import type { Known } from "../qemu/processes.ts";

export interface ContainerNote {
  v: 1;
  /** `starting` until its agent answered: what is found so after a kill is half a container. */
  phase: "starting" | "running" | "halted";
  /** The first of its users and groups on this computer; null while nothing of it runs. */
  firstUid: number | null;
  /** Null before there was one. */
  init: Known | null;
  cpus: number;
  memoryMiB: number;
  network: VmNetwork | null;
}
