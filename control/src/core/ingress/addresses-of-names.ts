// SPDX-License-Identifier: Apache-2.0
/** Which names there are in the zone of workloads and which host each leads to, for our name server and for others. */
import { isIPv4, isIPv6 } from "node:net";
import { type RawBuilder, sql } from "kysely";
import type { ZoneRecord } from "./answer.ts";
import { parseName } from "./wire/domain-name.ts";

/**
 * Where strangers reach the host `h`: what it registered, since it may listen behind a translated address,
 * else where it listens. The empty string: not known, or not reached from outside.
 */
export const ADDRESS_OF_HOST = sql`coalesce(h.registered->>'publicIp', h.facts->'ingress'->>'host', '')`;
/** The first eight digits of a host's id, as in the names of `hostDomain`. */
const HOST_START = sql`rpad(substr(h.id, 6, 8), 8, '0')`;

/** name, target. */
export const workloadNamesQuery = (zone: string): RawBuilder<unknown> => sql`
  select w.id::text || '.' || ${zone} as name, ${ADDRESS_OF_HOST} as target
  from workloads w join machines m on m.id = w.machine_id left join hosts h on h.id = m.host_id
  where w.deleted_at is null`;

/**
 * name, target; two hosts may share a name. One that was put out has none: customers' domains lead to these
 * names, and it may be somebody else's by now.
 */
export const hostNamesQuery = (zone: string): RawBuilder<unknown> => sql`
  select ${HOST_START} || '.metal.' || ${zone} as name, ${ADDRESS_OF_HOST} as target from hosts h
  where h.revoked_at is null`;

/** A host as its operator named it: an address, or a name of their own. */
export function recordsOf(host: string): Exclude<ZoneRecord, { type: "TXT" }>[] {
  if (isIPv4(host)) return [{ type: "A", address: host }];
  if (isIPv6(host) && !host.includes("%")) return [{ type: "AAAA", address: host }];
  // "localhost" and the like mean something else to everybody who would be told.
  return host.includes(".") && parseName(host) !== null ? [{ type: "CNAME", target: host }] : [];
}
