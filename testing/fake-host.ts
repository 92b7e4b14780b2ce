// SPDX-License-Identifier: Apache-2.0
/**
 * A host process over the fake driver, to be killed: `node testing/fake-host.ts <json>` with the
 * folder to work in and, if wanted, the point of the driver at which it stands still and says so.
 */
import { join } from "node:path";
import { startHost } from "#host/assemble.ts";
import { FakeDriver } from "./fake-driver.ts";

export interface FakeHostAsk {
  folder: string;
  stallAt: "start" | "recorded" | "stop" | "recover" | null;
}

let joined = false;
const { folder, stallAt } = JSON.parse(process.argv[2]!) as FakeHostAsk;
await startHost({
  stateFolder: join(folder, "host"),
  link: { path: join(folder, "link", "control.sock") },
  drivers: [
    new FakeDriver({
      folder: join(folder, "machines"),
      async at(point, machineId) {
        // The self-test at the start goes through the same driver; only what control asked for stalls.
        if (point !== stallAt || (point !== "recover" && !joined)) return;
        process.stdout.write(`stalled ${machineId}\n`);
        await new Promise(() => {});
      },
    }),
  ],
  ceiling: {
    machines: 8,
    memoryMiB: 1024,
    cpuMillis: 2000,
    pidsMax: 256,
    memoryTotalMiB: 4096,
    isolations: ["process"],
  },
  signer: { folder: join(folder, "signer"), kekPath: join(folder, "host", "issuer.kek"), uid: 61_000 },
  backoff: { firstMs: 5, mostMs: 50 },
});
joined = true;
process.stdout.write("started\n");
setInterval(() => {}, 60_000);
