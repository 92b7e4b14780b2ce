// SPDX-License-Identifier: Apache-2.0
/** How tests of the host start one: everything in one folder, control met at a socket in it. */
import { join } from "node:path";
import type { HostOptions } from "#host/assemble.ts";
import { FakeDriver, type FakeDriverOptions } from "./fake-driver.ts";

export function hostOptions(folder: string, driver: Omit<FakeDriverOptions, "folder"> = {}): HostOptions {
  return {
    stateFolder: join(folder, "host"),
    link: { path: join(folder, "link", "control.sock") },
    drivers: [new FakeDriver({ folder: join(folder, "machines"), ...driver })],
    ceiling: {
      ...{ machines: 8, memoryMiB: 1024, cpuMillis: 2000, pidsMax: 256, memoryTotalMiB: 4096 },
      isolations: ["process"],
    },
    signer: { folder: join(folder, "signer"), kekPath: join(folder, "host", "issuer.kek"), uid: 61_000 },
    backoff: { firstMs: 5, mostMs: 50 },
  };
}
