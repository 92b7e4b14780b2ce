// SPDX-License-Identifier: Apache-2.0
/** What the driver of guests needs of whatever its guests are in: virtual machines, or system containers. */
import type { MachineSpec } from "#contract/link/machine.ts";
import type { BuiltImage } from "#images/store.ts";
import type { StartedVm, VirtualMachines, VmAsk, VmHooks } from "./machines.ts";

export interface GuestAsk extends VmAsk {
  /** Looked at: its files are as they were built. */
  image: BuiltImage;
  /** Of the launch manifest, in hex. */
  launchSha256: string;
}

export interface GuestMachines
  extends Pick<
    VirtualMachines,
    | "probe"
    | "endorsers"
    | "guest"
    | "end"
    | "say"
    | "halt"
    | "remove"
    | "find"
    | "logs"
    | "stats"
    | "egress"
    | "readDisk"
    | "writeDisk"
    | "onChange"
    | "list"
    | "close"
  > {
  start(machineId: string, spec: MachineSpec, ask: GuestAsk, hooks: VmHooks): Promise<StartedVm>;
}
