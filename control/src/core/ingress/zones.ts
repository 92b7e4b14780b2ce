// SPDX-License-Identifier: Apache-2.0
/** The zones we answer for, read once from the configuration: what is at their apexes and stands still. */
import { isIPv4, isIPv6 } from "node:net";
import { type DomainName, isWithin, keyOf, mailboxName, requireName } from "./wire/domain-name.ts";
import type { RecordData, StartOfAuthority } from "./wire/writer.ts";

export interface ZoneConfig {
  /** The domain, e.g. `apps.example.org`. */
  origin: string;
  /** As the parent zone delegates; the first one is the SOA's. Those inside the zone need their addresses here. */
  nameServers: readonly { name: string; addresses: readonly string[] }[];
  /** A mailbox, `hostmaster@example.org`. */
  contact: string;
  ttlSeconds: number;
  /** How long resolvers may remember that a name is not there. */
  negativeTtlSeconds: number;
}

export interface Zone {
  origin: DomainName;
  nameServers: readonly DomainName[];
  ttlSeconds: number;
  negativeTtlSeconds: number;
  soa: Omit<StartOfAuthority, "serial">;
}

export interface Zones {
  /** The innermost zone that holds the name. */
  find(name: DomainName): Zone | undefined;
  /** Records of the configuration itself; null where it has nothing at the name. Empty: only names below it. */
  fixed(name: DomainName): readonly RecordData[] | null;
}

export function openZones(configs: readonly ZoneConfig[]): Zones {
  const zones = configs.map(zoneOf).sort((a, b) => b.origin.length - a.origin.length);
  if (new Set(zones.map(({ origin }) => keyOf(origin))).size !== zones.length)
    throw new Error("a zone is configured twice");
  const find = (name: DomainName) => zones.find(({ origin }) => isWithin(name, origin));
  const fixed = new Map<string, RecordData[]>();
  const put = (name: DomainName, records: readonly RecordData[]) => {
    fixed.set(keyOf(name), [...(fixed.get(keyOf(name)) ?? []), ...records]);
    // A name with something below it exists (RFC 8020): else a resolver would take all below for missing.
    for (let up = name.slice(1); find(up) !== undefined; up = up.slice(1))
      fixed.set(keyOf(up), fixed.get(keyOf(up)) ?? []);
  };
  for (const { origin } of zones) put(origin, []);
  const servers = new Map<string, { name: DomainName; addresses: readonly string[] }>();
  for (const { name: text, addresses } of configs.flatMap(({ nameServers }) => nameServers)) {
    const name = requireName(text);
    const known = servers.get(keyOf(name));
    servers.set(keyOf(name), { name, addresses: [...new Set([...(known?.addresses ?? []), ...addresses])] });
  }
  for (const { name, addresses } of servers.values()) {
    if (find(name) === undefined) continue;
    if (addresses.length === 0) throw new Error(`name server ${name.join(".")} needs its addresses`);
    put(name, addresses.map(addressRecord));
  }
  return { find, fixed: (name) => fixed.get(keyOf(name)) ?? null };
}

function zoneOf(config: ZoneConfig): Zone {
  const { ttlSeconds, negativeTtlSeconds } = config;
  const nameServers = config.nameServers.map(({ name }) => requireName(name));
  if (nameServers.length === 0) throw new Error(`zone ${config.origin} has no name server`);
  return {
    origin: requireName(config.origin),
    nameServers,
    ttlSeconds,
    negativeTtlSeconds,
    soa: {
      nameServer: nameServers[0]!,
      mailbox: mailboxName(config.contact),
      // For secondaries. There are none, as a transfer is refused; these are what checkers expect.
      ...{ refreshSeconds: 3600, retrySeconds: 600, expireSeconds: 1_209_600 },
      negativeTtlSeconds,
    },
  };
}

function addressRecord(address: string): RecordData {
  if (isIPv4(address)) return { type: "A", address };
  if (isIPv6(address)) return { type: "AAAA", address };
  throw new Error(`${JSON.stringify(address)} is not an address`);
}
