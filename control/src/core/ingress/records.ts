// SPDX-License-Identifier: Apache-2.0
/**
 * What is in the zones of workloads and of instances, read from the database when somebody asks:
 *
 *     <workload id>.<zone>                          the address of the host that has its machine
 *     <8 hex digits>.metal.<zone>                   the address of the host whose id begins so
 *     _acme-challenge.<workload id>.<zone>          TXT (challenges.ts)
 *     <name>.<slug>.<instances' zone>               the address of the instance, while it is ready
 *
 *  A. A name that is none of these is answered without the database. The others cost at most one
 *     statement at a time (batches.ts), the hosts one in `KEEP_MS`, whatever the flood.
 *  B. What changed is answered `KEEP_MS` later at most: a deleted workload is gone then, and its host's
 *     address no longer given out under its name. A proof is waited for, so it comes sooner.
 *  C. The serial grows when what could be asked for changed, and never falls while this process lives.
 */
import { sql } from "kysely";
import type { Db } from "../../database/open.ts";
import { ADDRESS_OF_HOST, recordsOf } from "./addresses-of-names.ts";
import type { Lookup, ZoneRecord } from "./answer.ts";
import { Batches } from "./batches.ts";
import { findTexts } from "./challenges.ts";
import { plainText, requireName } from "./wire/domain-name.ts";

/** B. */
export const KEEP_MS = 3_000;
const KEEP_TEXTS_MS = 1_000;

export interface ZoneRecords {
  lookup: Lookup;
  /** For the SOA. */
  serial(): Promise<number>;
}

export interface ZoneRecordsOptions {
  db: Db;
  zone: string;
  /** May be the same as that of workloads, or below it. */
  instancesZone: string;
}

const WORKLOAD = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const HOST = /^([0-9a-f]{8})\.metal$/;
const INSTANCE = /^[a-z0-9]{8}\.[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
const SLUG = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
/** An address is an instance's as long as that runs, and somebody may have remembered it when it moves. */
const INSTANCE_TTL_S = 15;
const CHALLENGE = /^_acme-challenge\.([0-9a-f-]{36})$/;
/** The one key of what is a single value. */
const ALL = "";

export function openZoneRecords({ db, zone, instancesZone }: ZoneRecordsOptions): ZoneRecords {
  const origin = plainText(requireName(zone))!;
  const ofInstances = plainText(requireName(instancesZone))!;
  const single = { keepMs: KEEP_MS, keptMax: 1, loadMax: 1, waitingMax: 1 };
  const workloads = new Batches(async (ids) => addressesOfWorkloads(db, ids), {
    keepMs: KEEP_MS,
    keptMax: 20_000,
    loadMax: 500,
    waitingMax: 5_000,
  });
  const instances = new Batches(async (names) => addressesOfInstances(db, names), {
    keepMs: KEEP_MS,
    keptMax: 20_000,
    loadMax: 500,
    waitingMax: 5_000,
  });
  const texts = new Batches(async (names) => findTexts(db, names), {
    keepMs: KEEP_TEXTS_MS,
    keptMax: 20_000,
    loadMax: 500,
    waitingMax: 5_000,
  });
  const hosts = new Batches(async () => new Map([[ALL, await addressesOfHosts(db)]]), single);
  const changes = new Batches(async () => new Map([[ALL, await lastChange(db)]]), single);

  const lookup: Lookup = async (name) => {
    if (name === ofInstances && name !== origin) return [];
    const below = name.endsWith(`.${ofInstances}`) ? name.slice(0, -ofInstances.length - 1) : null;
    if (below !== null && (INSTANCE.test(below) || SLUG.test(below))) {
      const found = await instances.find(below);
      if (found !== null)
        return recordsOf(found).map((record) => ({ ...record, ttlSeconds: INSTANCE_TTL_S }));
    }
    return lookupWorkload(name);
  };

  const lookupWorkload = async (name: string): Promise<readonly ZoneRecord[] | null> => {
    if (name === origin || name === `metal.${origin}`) return [];
    if (!name.endsWith(`.${origin}`)) return null;
    const below = name.slice(0, -origin.length - 1);
    if (WORKLOAD.test(below)) {
      const host = await workloads.find(below);
      return host === null ? null : recordsOf(host);
    }
    if (WORKLOAD.test(CHALLENGE.exec(below)?.[1] ?? "")) {
      const found = await texts.find(name);
      return found?.map((text): ZoneRecord => ({ type: "TXT", texts: [text], ttlSeconds: 1 })) ?? null;
    }
    const [, start] = HOST.exec(below) ?? [];
    const found = start === undefined ? undefined : (await hosts.find(ALL))?.get(start);
    return found?.flatMap(recordsOf) ?? null;
  };

  let serial = 0;
  let seen = "";
  return {
    lookup,
    serial: async () => {
      const [change, known] = [(await changes.find(ALL))!, (await hosts.find(ALL))!];
      const now = JSON.stringify([change.at, [...known]]);
      if (now !== seen) serial = Math.max(serial + 1, change.nowSeconds);
      seen = now;
      return serial;
    },
  };
}

/** The empty string: it is there, and its host is not known, or cannot be reached from outside. */
async function addressesOfWorkloads(db: Db, ids: readonly string[]): Promise<Map<string, string>> {
  const { rows } = await sql<{ id: string; host: string }>`
    select w.id::text as id, ${ADDRESS_OF_HOST} as host
    from workloads w join machines m on m.id = w.machine_id left join hosts h on h.id = m.host_id
    where w.id = any(${ids}::uuid[]) and w.deleted_at is null`.execute(db);
  return new Map(rows.map(({ id, host }) => [id, host]));
}

/** Of `<name>.<slug>`; of a slug alone, below which there are names, the empty string. */
async function addressesOfInstances(db: Db, names: readonly string[]): Promise<Map<string, string>> {
  const { rows } = await sql<{ name: string; address: string }>`
    select i.name || '.' || t.slug as name, i.ssh->>'address' as address
    from instance_tenants t join instances i on i.account_id = t.account_id
    where i.name || '.' || t.slug = any(${names}::text[]) and i.name = any(${names.map((name) => name.split(".")[0])}::text[])
      and i.status = 'ready' and i.ssh is not null
    union all
    select slug, '' from instance_tenants where slug = any(${names}::text[])`.execute(db);
  return new Map(rows.map(({ name, address }) => [name, address]));
}

/** By the first eight digits of their ids, as in the names of `hostDomain`; two hosts may share them. */
async function addressesOfHosts(db: Db): Promise<Map<string, string[]>> {
  const { rows } = await sql<{ start: string; host: string }>`
    select rpad(substr(h.id, 6, 8), 8, '0') as start, ${ADDRESS_OF_HOST} as host
    from hosts h where revoked_at is null order by id`.execute(db);
  const found = new Map<string, string[]>();
  for (const { start, host } of rows) found.set(start, [...(found.get(start) ?? []), host]);
  return found;
}

/** By the database's clock, which all replicas share. */
async function lastChange(db: Db): Promise<{ at: string; nowSeconds: number }> {
  const { rows } = await sql<{ at: string; now: number }>`
    select coalesce(max(greatest(updated_at, deleted_at))::text, '')
        || (select concat(count(*), ' ', sum(version)) from instances where status in ('ready', 'terminating'))
        || (select concat(count(*), ' ', max(ends_at)) from dns_challenges where ends_at > now()) as at,
      floor(extract(epoch from now()))::bigint as now
    from workloads`.execute(db);
  return { at: rows[0]!.at, nowSeconds: rows[0]!.now };
}
