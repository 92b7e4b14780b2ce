// SPDX-License-Identifier: Apache-2.0
/** A virtual machine as the driver means it, before it is words on a command line (launch.ts). */
import type { SnpGuest, TdxGuest } from "./confidential.ts";

export interface Disk {
  path: string;
  readOnly: boolean;
  /** What the guest tells its disks apart by: at most 20 characters. */
  serial: string;
}

/** A byte pipe to the guest; it appears there under its name. We are connected or the guest's words are lost. */
export interface Port {
  name: string;
  socketPath: string;
}

/**
 * `user`: QEMU's own network stack. It would hand the guest every service on the host's loopback, so it is
 * always restricted: nothing goes out, and only the named ports come in.
 * `tap`: an interface that exists already and is open as this descriptor; QEMU can open none itself.
 */
export type Network =
  | { kind: "none" }
  | { kind: "user"; forwards: readonly { hostPort: number; guestPort: number }[] }
  | { kind: "tap"; descriptor: number; mac: string };

export interface Boot {
  /** A kernel, or with firmware a unified kernel image. */
  kernel: string;
  initrd: string | null;
  /** The whole kernel command line. Everybody on the host can read it, and evidence is about it: no secret. */
  line: string;
}

/** A file that is run, and a copy of the template of its variables, which is this machine's own. */
export interface Firmware {
  code: string;
  variables: string;
}

interface Parts {
  machineId: string;
  cpus: number;
  memoryMiB: number;
  boot: Boot;
  disks: readonly Disk[];
  ports: readonly Port[];
  network: Network;
  /** The first serial line, as bytes. A file here could be filled by the guest without end. */
  consoleSocket: string;
  qmpSocket: string;
  /** Denies QEMU the system calls that it does not need; false only where QEMU was built without. */
  seccomp: boolean;
}

export interface PlainVm extends Parts {
  kind: "plain";
  accelerator: "kvm" | "tcg";
  firmware: Firmware | null;
  /** Of the program that plays the TPM of this machine. */
  tpmSocket: string | null;
}

/** Memory that the host cannot read. Only hardware does that, so there is no choice of accelerator. */
export interface ConfidentialVm extends Parts {
  kind: "confidential";
  guest: SnpGuest | TdxGuest;
  /** Measured with the kernel's hashes (SNP) or measuring them (TDX). */
  firmware: string;
  /** A named model: its identity is part of what is measured. `host` for TDX. */
  cpuModel: string;
}

/** What a machine has beyond others when its memory is to be kept from the host. */
export type Confidential = Pick<ConfidentialVm, "guest" | "firmware" | "cpuModel">;

export type Vm = PlainVm | ConfidentialVm;
