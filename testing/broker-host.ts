// SPDX-License-Identifier: Apache-2.0
/** A host under a chosen id that meets control at a test's broker, with kept machines of a fake driver. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type RunningHost, startHost } from "#host/assemble.ts";
import type { NatsAccess } from "#link/nats/access.ts";
import { FakeDriver } from "./fake-driver.ts";
import type { FakeKeptDriver } from "./fake-kept-driver.ts";
import type { TestNats } from "./nats-server.ts";

export interface BrokerHost {
  folder: string;
  hostId: string;
  driver: FakeKeptDriver;
  /** Control's own is 5 s: a host that waits for less than 15 in all begins its connection again and again, streams and all. */
  heartbeatMs?: number;
}

const CEILING = { cpuMillis: 32_000, memoryMiB: 65_536, diskMiB: 1_048_576 };

export function startBrokerHost(
  nats: TestNats,
  { folder, hostId, ...more }: BrokerHost,
  ceiling = CEILING,
): Promise<RunningHost> {
  mkdirSync(join(folder, "host"), { recursive: true, mode: 0o700 });
  writeFileSync(join(folder, "host", "host.id"), `${hostId}\n`);
  const access = { servers: [nats.url], credentials: { nkeySeed: nats.seedOf(hostId) } };
  return startHostAt(access, { folder, ...more }, ceiling);
}

/** With whatever its state folder holds of an earlier life or a joining. */
export function startHostAt(
  access: NatsAccess,
  { folder, driver, heartbeatMs = 200 }: Omit<BrokerHost, "hostId">,
  ceiling: typeof CEILING,
): Promise<RunningHost> {
  const hostId = readFileSync(join(folder, "host", "host.id"), "utf8");
  return startHost({
    stateFolder: join(folder, "host"),
    link: { nats: access },
    drivers: [new FakeDriver({ folder: join(folder, "machines") })],
    ceiling: {
      ...{ machines: 10, memoryMiB: 4096, cpuMillis: 4000, pidsMax: 1000, memoryTotalMiB: 8192 },
      isolations: ["process"],
    },
    signer: { folder: join(folder, "signer"), kekPath: join(folder, "kek"), uid: 63_902 },
    farewellMs: 500,
    heartbeatMs,
    backoff: { firstMs: 20, mostMs: 200 },
    kept: {
      drivers: [driver],
      ceiling,
      ingress: { host: "127.0.0.1", httpPort: 0, httpsPort: 0 },
      ingressUid: 63_914,
      haltOnStop: false,
    },
    ...(process.env.CASEMATE_TEST_LOG
      ? { log: (event: string, facts: object) => console.log(hostId.slice(0, 9), event, facts) }
      : {}),
  });
}
