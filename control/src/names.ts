// SPDX-License-Identifier: Apache-2.0
/** The names of workloads: answered by us where the zone was delegated to us, written where it is another server's. */
import { readFileSync } from "node:fs";
import type { Logger } from "pino";
import type { ControlConfig } from "./config.ts";
import {
  type Challenges,
  type DomainLooks,
  keepZone,
  openChallenges,
  openDomainLooks,
  openZoneRecords,
  openZoneUpdater,
  startNameServer,
  type ZoneUpdater,
} from "./core/ingress/index.ts";
import { every } from "./core/machines/index.ts";
import type { Database } from "./database/open.ts";

/** From a change until another server's zone has it; our own answers as soon, by what it keeps. */
const KEEP_MS = 3_000;
const SWEEP_MS = 60_000;

export interface Names {
  challenges: Challenges;
  looks: DomainLooks;
  close(): Promise<void>;
}

export async function startNames(
  db: Database,
  { names, workloads: { zone }, instances: { zone: instancesZone } }: ControlConfig,
  log: Logger,
  onError: (error: unknown) => void,
): Promise<Names> {
  const { host, port, update, resolvers, nameServers, contact, ttlSeconds, negativeTtlSeconds } = names;
  const updater = updaterOf(update, zone, ttlSeconds);
  const challenges = openChallenges({ db: db.run, zone, updater });
  const say = (event: string, facts: Record<string, unknown>) => log.warn(facts, event);
  const records = openZoneRecords({ db: db.soft, zone, instancesZone });
  const server =
    host === null
      ? null
      : await startNameServer({
          ...{ host, port, lookup: records.lookup, serial: records.serial, log: say },
          zones: [...new Set([zone, instancesZone])].map((origin) => ({
            ...{ origin, nameServers, contact, ttlSeconds, negativeTtlSeconds },
          })),
        });
  const stops = [every(SWEEP_MS, () => challenges.sweep(), onError)];
  if (updater !== null)
    stops.push(every(KEEP_MS, () => keepZone({ db: db.run, zone, updater, log: say }), onError));
  return {
    challenges,
    looks: openDomainLooks({ resolvers }),
    close: async () => {
      await Promise.all([server?.close(), ...stops.map((stop) => stop())]);
    },
  };
}

/** All of it or nothing: a server without its key would be refused at the first workload, not at the start. */
function updaterOf(
  update: ControlConfig["names"]["update"],
  zone: string,
  ttlSeconds: number,
): ZoneUpdater | null {
  const { server, port, keyName, tsigKeyFile } = update;
  if (server === null) return null;
  if (keyName === null || tsigKeyFile === null)
    throw new Error("config names.update: keyName and tsigKeyFile are needed beside server");
  const above = update.zone ?? zone;
  if (zone !== above && !zone.endsWith(`.${above}`))
    throw new Error("config names.update.zone: workloads.zone is not in it");
  const secret = Buffer.from(readFileSync(tsigKeyFile, "utf8").trim(), "base64");
  return openZoneUpdater({
    ...{ server: { host: server, port }, zone: above, key: { name: keyName, secret }, ttlSeconds },
  });
}
