// SPDX-License-Identifier: Apache-2.0
/**
 * A port of the host's loopback for a machine, always first the same one. A port that another machine was given is
 * not taken, also while nothing listens there: the ingress would go on bringing it the other's
 * visitors, with what they send.
 */
import { createServer } from "node:net";
import { numberOf } from "./docker/marks.ts";
import { DriverFault } from "./driver.ts";

export async function findHostPort(
  machineId: string,
  { base, count }: { base: number; count: number },
  others: ReadonlySet<number | null | undefined>,
): Promise<number> {
  const first = numberOf(machineId, count);
  for (let step = 0; step < count; step++) {
    const port = base + ((first + step) % count);
    if (others.has(port)) continue;
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new DriverFault("machine.start-failed", "this host has no port left for the machine");
}
