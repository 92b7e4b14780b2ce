// SPDX-License-Identifier: Apache-2.0
/** Where control meets hosts of other machines: at a broker, whose users it keeps when the broker is its own. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { publicKeyOf } from "#link/nats/access.ts";
import { natsAccess } from "#link/nats/files.ts";
import { listenNats } from "#link/nats/listen.ts";
import type { ControlHandlers, ControlLink } from "#link/port.ts";
import type { ControlConfig } from "./config.ts";
import { type BrokerPlan, keepBrokerMembers } from "./core/fleet/index.ts";
import type { Database } from "./database/open.ts";

/** A broker that is started together with us reads its configuration when we have written it. */
const FIRST_ENTRY_MS = 30_000;
const AGAIN_MS = 500;

export interface BrokerNeeds {
  db: Database;
  config: ControlConfig;
  handlers: ControlHandlers;
  onFault(error: Error, hostId: string | null): void;
  onError(error: unknown): void;
}

/** Null when no broker is named. */
export async function meetAtBroker({
  db,
  config,
  handlers,
  onFault,
  onError,
}: BrokerNeeds): Promise<{ link: ControlLink; stop(): Promise<void> } | null> {
  const access = natsAccess(config.link.nats);
  if (access === null) {
    if (config.link.broker !== null) throw new Error("config link.broker: link.nats names no broker");
    return null;
  }
  const plan = planOf(config.link);
  const keeper = plan === null ? null : await keepBrokerMembers(db, plan, onError);
  const deadline = performance.now() + (keeper === null ? 0 : FIRST_ENTRY_MS);
  for (;;) {
    try {
      const link = await listenNats({ ...access, handlers, replica: config.replica, onFault });
      return { link, stop: async () => keeper?.stop() };
    } catch (error) {
      if (performance.now() > deadline) {
        await keeper?.stop();
        throw error;
      }
      await sleep(AGAIN_MS);
    }
  }
}

function planOf({ broker, nats }: ControlConfig["link"]): BrokerPlan | null {
  if (broker === null) return null;
  if (nats.seedFile === null)
    throw new Error("config link.broker: its users are nkeys, so link.nats.seedFile is needed");
  const { configPath, pidPath, host, port, certPath, keyPath } = broker;
  if ((certPath === null) !== (keyPath === null))
    throw new Error("config link.broker: certPath and keyPath come together");
  if (certPath === null && nats.tls === "on" && !/^(127\.|::1$|localhost$)/.test(host))
    throw new Error(
      `config link.broker: a broker on ${host} needs certPath and keyPath, or link.nats.tls "off"`,
    );
  return {
    ...{ configPath, pidPath, listen: { host, port } },
    tls: certPath === null ? "off" : { certFile: certPath, keyFile: keyPath! },
    controlKey: publicKeyOf(readFileSync(nats.seedFile, "utf8")),
  };
}

/** What a host that joins is told. */
export function brokerForHosts({ nats, hostServers }: ControlConfig["link"]) {
  const servers = hostServers.length > 0 ? hostServers : nats.servers;
  if (servers.length === 0) return null;
  return { servers, tls: nats.tls, caPem: nats.caFile === null ? null : readFileSync(nats.caFile, "utf8") };
}
