// SPDX-License-Identifier: Apache-2.0
/** What the host does with freed and swapped pages; read anew for each proof, since an operator can change it. */
import { tryRead } from "./process-table.ts";

export interface HostMemory {
  swapDevices: number | null;
  zswap: boolean | null;
  initOnFree: boolean | null;
}

export function observeHostMemory(): HostMemory {
  const swaps = tryRead("/proc/swaps");
  const zswap = tryRead("/sys/module/zswap/parameters/enabled");
  const commandLine = tryRead("/proc/cmdline");
  const asked = commandLine?.match(/\binit_on_free=([01])\b/)?.[1];
  return {
    swapDevices: swaps === null ? null : swaps.trim().split("\n").length - 1,
    // No parameter file: the kernel was built without it.
    zswap: zswap === null ? false : zswap.trim() === "Y",
    // Only the command line can be observed; the built-in default cannot, so silence is not an answer.
    initOnFree: asked === undefined ? null : asked === "1",
  };
}
