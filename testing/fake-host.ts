// SPDX-License-Identifier: Apache-2.0
/**
 * A host process over the fake driver, to be killed: `node testing/fake-host.ts <json>` with the
 * folder to work in and, if wanted, the point of the driver at which it stands still and says so.
 */
import { startHost } from "#host/assemble.ts";
import { hostOptions } from "./host-options.ts";

export interface FakeHostAsk {
  folder: string;
  stallAt: "start" | "recorded" | "stop" | "recover" | null;
}

let joined = false;
const { folder, stallAt } = JSON.parse(process.argv[2]!) as FakeHostAsk;
await startHost(
  hostOptions(folder, {
    async at(point, machineId) {
      // The self-test at the start goes through the same driver; only what control asked for stalls.
      if (point !== stallAt || (point !== "recover" && !joined)) return;
      process.stdout.write(`stalled ${machineId}\n`);
      await new Promise(() => {});
    },
  }),
);
joined = true;
process.stdout.write("started\n");
setInterval(() => {}, 60_000);
