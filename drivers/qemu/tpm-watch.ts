// SPDX-License-Identifier: Apache-2.0
/**
 * A machine whose TPM has ended runs on and can show nothing any more, and its QEMU says nothing of it. So its end is the machine's:
 * QEMU is killed, and whoever started the machine is told why. The other way round needs nobody: the program ends with its QEMU.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isRunning, type Known } from "./processes.ts";

const LOOK_EVERY_MS = 250;
/** A QEMU that ends closes its files, with which the TPM ends, before the kernel counts it as gone. */
const GRACE_MS = 1_000;

export interface TpmWatch {
  tpm: Known;
  qemu: Known;
  /** Called before QEMU is killed. */
  onEnd(): void;
}

/** @returns Stops watching. */
export function watchTpm({ tpm, qemu, onEnd }: TpmWatch): () => void {
  const stop = new AbortController();
  const { signal } = stop;
  const look = async () => {
    while (isRunning(tpm)) await sleep(LOOK_EVERY_MS, undefined, { signal, ref: false });
    await sleep(GRACE_MS, undefined, { signal, ref: false });
    if (!isRunning(qemu)) return;
    onEnd();
    process.kill(qemu.pid, "SIGKILL");
  };
  // Called off, or QEMU has ended meanwhile.
  look().catch(() => {});
  return () => stop.abort();
}
