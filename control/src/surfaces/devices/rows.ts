// SPDX-License-Identifier: Apache-2.0
/**
 * Sites, servers, devices and groups in the database. Whose they are is asked in the same statement:
 * another party's is indistinguishable from a missing one.
 */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { ONLINE_S } from "../../core/models/index.ts";
import type { Db } from "../../database/open.ts";
import type { Page } from "../../http/paging.ts";

import type { KeptPipeline } from "./checks.ts";

export const ONLINE = sql`coalesce(sv.last_seen > now() - make_interval(secs => ${sql.lit(ONLINE_S)}), false)`;

export interface SiteRow {
  id: string;
  name: string;
  party_id: string;
  party: string;
  online: boolean;
  servers: number;
  devices: number;
  last_seen: Date | null;
  version: number;
  created_at: Date;
  updated_at: Date;
  records: number;
}

export interface ServerFacts {
  Version?: string;
  AIPluginVersion?: string;
  Runtime?: RuntimeFacts;
  AvailableRuntimes?: RuntimeFacts[];
  Preprocessors?: string[];
  Postprocessors?: string[];
  Supports?: { Pipelines: boolean };
}

interface RuntimeFacts {
  Name: string;
  Version: string;
  Targets: string[];
}

export interface ServerRow {
  id: string;
  name: string;
  site_id: string;
  site: string;
  party_id: string;
  /** The account of the site's owner. */
  account_id: string;
  online: boolean;
  facts: ServerFacts;
  runtime_wanted: string | null;
  settings: { TelemetrySeconds?: number };
  desired_version: number;
  reported_version: number;
  health: "unknown" | "ok" | "degraded" | "failed";
  errors: string[];
  last_seen: Date | null;
  created_at: Date;
  updated_at: Date;
  records: number;
}

export interface DeviceRow {
  id: string;
  nx_id: string;
  name: string;
  serial: string;
  type: string;
  tags: string[];
  enabled: boolean;
  active: boolean;
  site_id: string;
  site: string;
  server_id: string;
  server: string;
  server_facts: ServerFacts;
  runtime_wanted: string | null;
  desired_version: number;
  reported_version: number;
  health: ServerRow["health"];
  online: boolean;
  groups: { UUID: string; Name: string }[] | null;
  pipelines: KeptPipeline[];
  pipelines_version: number;
  version: number;
  created_at: Date;
  updated_at: Date;
  records: number;
}

export interface GroupRow {
  id: string;
  name: string;
  devices: number;
  created_at: Date;
  updated_at: Date;
  records: number;
}

type Rows<R> = { rows: R[]; records: number };

/** The page, and how many match in all: an empty page does not say, so it is asked again. */
async function pageOfRows<R extends { records: number }>(
  db: Db,
  found: RawBuilder<unknown>,
  page: Page,
): Promise<Rows<R>> {
  const { rows } = await sql<R>`
    with found as (${found}) select *, (count(*) over ())::int as records from found
    order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(db);
  if (rows.length > 0 || page.offset === 0) return { rows, records: rows[0]?.records ?? 0 };
  const { rows: counted } = await sql<{ records: number }>`
    with found as (${found}) select count(*)::int as records from found`.execute(db);
  return { rows, records: counted[0]!.records };
}

const one = async <R>(db: Db, found: RawBuilder<unknown>): Promise<R | null> =>
  (await sql<R>`${found}`.execute(db)).rows[0] ?? null;

const SITES = (condition: RawBuilder<unknown>) => sql`
  select s.id, s.name, s.party_id, p.name as party, s.version, s.created_at, s.updated_at,
    exists (select from servers sv where sv.site_id = s.id and ${ONLINE}) as online,
    (select count(*)::int from servers sv where sv.site_id = s.id) as servers,
    s.device_count as devices,
    (select max(sv.last_seen) from servers sv where sv.site_id = s.id) as last_seen
  from sites s join parties p on p.id = s.party_id where ${condition}`;

export const listSites = (
  db: Db,
  party: string,
  q: string | undefined,
  status: string | undefined,
  page: Page,
) => {
  const named = q === undefined ? sql`true` : sql`position(lower(${q}) in lower(s.name)) > 0`;
  const all = SITES(sql`s.party_id = ${party} and ${named}`);
  const found =
    status === undefined ? all : sql`select * from (${all}) all_of where online = ${status === "online"}`;
  return pageOfRows<SiteRow>(db, found, page);
};

export async function requireSite(db: Db, party: string, id: string): Promise<SiteRow> {
  const row = await one<SiteRow>(db, SITES(sql`s.party_id = ${party} and s.id = ${id}`));
  if (row === null) throw new Fault("site.not-found", { uuid: id });
  return row;
}

const SERVERS = (condition: RawBuilder<unknown>) => sql`
  select sv.*, s.name as site, s.party_id, p.account_id, ${ONLINE} as online
  from servers sv join sites s on s.id = sv.site_id join parties p on p.id = s.party_id
  where p.deleted_at is null and ${condition}`;

export const listServerRows = (db: Db, site: string, page: Page) =>
  pageOfRows<ServerRow>(db, SERVERS(sql`sv.site_id = ${site}`), page);

export async function requireServer(db: Db, party: string, id: string): Promise<ServerRow> {
  const row = await one<ServerRow>(db, SERVERS(sql`s.party_id = ${party} and sv.id = ${id}`));
  if (row === null) throw new Fault("server.not-found", { uuid: id });
  return row;
}

/** Whoever asks has shown its key. */
export const findServer = (db: Db, id: string) => one<ServerRow>(db, SERVERS(sql`sv.id = ${id}`));

/** Of the server itself, which has shown its key; `id` is what it says in the path. */
export async function requireOwnServer(db: Db, own: string | null, id: string): Promise<ServerRow> {
  const row = own === id.toLowerCase() ? await one<ServerRow>(db, SERVERS(sql`sv.id = ${own}`)) : null;
  if (row === null) throw new Fault("server.not-found", { uuid: id });
  return row;
}

/** Its server's. Of a wish that did not run, a server that can say so names the devices: the others run on as they did. */
const HEALTH = sql`case when sv.tried_version <= sv.reported_version or sv.failed_devices = '{}' then sv.health
  when d.id = any(sv.failed_devices) then 'failed'
  when sv.health = 'degraded' then 'ok' else sv.health end`;

const DEVICES = (condition: RawBuilder<unknown>) => sql`
  select d.*, s.name as site, sv.name as server, sv.facts as server_facts, sv.runtime_wanted, ${ONLINE} as online,
    sv.desired_version, sv.reported_version, ${HEALTH} as health,
    (select json_agg(json_build_object('UUID', g.id, 'Name', g.name) order by g.name)
      from device_group_members m join device_groups g on g.id = m.group_id where m.device_id = d.id) as groups
  from devices d join sites s on s.id = d.site_id join servers sv on sv.id = d.server_id where ${condition}`;

export interface DeviceFilters {
  q?: string | undefined;
  System?: string | undefined;
  Server?: string | undefined;
  Group?: string | undefined;
  Tag?: string | undefined;
  Status?: "online" | "offline" | undefined;
}

/** Up to here all that match are gathered and put in order; of more, the index is followed in that order. */
const GATHERED_MAX = 10_000;

/**
 * Which devices are on the page is found by the index, and only those are read. How many there are is
 * counted beforehand where nothing but a site is asked for; a filter is counted when it is asked, and how
 * many match says how the page is found: the planner, which guesses, walks a million for the ten that do.
 */
export async function listDeviceRows(
  db: Db,
  party: string,
  asked: DeviceFilters,
  page: Page,
): Promise<Rows<DeviceRow>> {
  const { System } = asked;
  // Of a site nothing but the site: with both, the planner takes all rows of each and sorts what they share.
  const place =
    System === undefined
      ? sql`d.party_id = ${party}`
      : sql`d.site_id = (select id from sites where id = ${System} and party_id = ${party})`;
  const filters = filtersOf(party, asked);
  const condition = sql.join([place, ...filters], sql` and `);
  const count =
    filters.length > 0
      ? sql`select count(*)::int from devices d where ${condition}`
      : sql`select coalesce(sum(device_count), 0)::int from sites
          where party_id = ${party} and ${System === undefined ? sql`true` : sql`id = ${System}`}`;
  const { rows: counted } = await sql<{ records: number }>`select (${count}) as records`.execute(db);
  const { records } = counted[0]!;
  if (records <= page.offset) return { rows: [], records };
  const gathered = filters.length > 0 && records <= GATHERED_MAX;
  const found = sql`select d.id, d.name, d.created_at, d.updated_at from devices d where ${condition}`;
  const { rows: ids } = await sql<{ id: string }>`
    with found as ${gathered ? sql`materialized` : sql`not materialized`} (${found})
    select d.id from found d order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(db);
  const { rows } = await sql<DeviceRow>`
    ${DEVICES(sql`d.id = any(${ids.map(({ id }) => id)}::uuid[])`)}`.execute(db);
  const read = new Map(rows.map((row) => [row.id, row]));
  return { rows: ids.map(({ id }) => read.get(id)).filter((row) => row !== undefined), records };
}

function filtersOf(party: string, { q, Server, Group, Tag, Status }: DeviceFilters): RawBuilder<unknown>[] {
  const servers = sql`select sv.id from servers sv join sites s on s.id = sv.site_id
    where s.party_id = ${party} and ${ONLINE} = ${Status === "online"}`;
  const members = sql`select m.device_id from device_group_members m where m.group_id = ${Group}`;
  return [
    ...(q === undefined ? [] : [sql`position(lower(${q}) in lower(d.name)) > 0`]),
    ...(Server === undefined ? [] : [sql`d.server_id = ${Server}`]),
    ...(Tag === undefined ? [] : [sql`d.tags @> array[${Tag}::text]`]),
    ...(Status === undefined ? [] : [sql`d.server_id in (${servers})`]),
    ...(Group === undefined ? [] : [sql`d.id in (${members})`]),
  ];
}

export async function requireDevice(db: Db, party: string, id: string): Promise<DeviceRow> {
  const row = await one<DeviceRow>(db, DEVICES(sql`s.party_id = ${party} and d.id = ${id}`));
  if (row === null) throw new Fault("device.not-found", { uuid: id });
  return row;
}

export const devicesOfServer = async (db: Db, server: string): Promise<DeviceRow[]> =>
  (await sql<DeviceRow>`${DEVICES(sql`d.server_id = ${server}`)} order by d.id`.execute(db)).rows;

const GROUPS = (condition: RawBuilder<unknown>) => sql`
  select g.*, (select count(*)::int from device_group_members m where m.group_id = g.id) as devices
  from device_groups g where ${condition}`;

export const listGroupRows = (db: Db, party: string, q: string | undefined, page: Page) => {
  const named = q === undefined ? sql`true` : sql`position(lower(${q}) in lower(g.name)) > 0`;
  return pageOfRows<GroupRow>(db, GROUPS(sql`g.party_id = ${party} and ${named}`), page);
};

export async function requireGroup(db: Db, party: string, id: string): Promise<GroupRow> {
  const row = await one<GroupRow>(db, GROUPS(sql`g.party_id = ${party} and g.id = ${id}`));
  if (row === null) throw new Fault("group.not-found", { uuid: id });
  return row;
}
