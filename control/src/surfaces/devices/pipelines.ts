// SPDX-License-Identifier: Apache-2.0
/**
 * What devices run: read, saved, given to many, and taken back to what it was.
 *
 *  A. A save is whole: all pipelines of a device under the next number, kept as a revision; or nothing.
 *  B. What is saved names the version of each model. A model's newer version comes to a device when
 *     somebody brings it there, never because an alias was moved.
 *  C. Servers are locked, in the order of their ids, before their devices (tell.ts).
 */
import { sql } from "kysely";
import type * as contract from "#contract/devices/pipelines.ts";
import type { GivenPipeline } from "#contract/devices/pipelines.ts";
import { Fault } from "#contract/errors.ts";
import { append } from "../../core/journal/index.ts";
import type { Db, Tx } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { matchesEtag, requireVersion } from "../../http/etag.ts";
import { paged, pageOf } from "../../http/paging.ts";
import { checkPipelines, type Issue, type KeptPipeline } from "./checks.ts";
import type { DevicesDeps } from "./deps.ts";
import { knownModels, knownServer } from "./models.ts";
import { ONLINE, requireDevice, requireSite, type ServerFacts } from "./rows.ts";
import { tellServers } from "./tell.ts";

type Needs = Pick<DevicesDeps, "db">;

export interface PipelinesRow {
  id: string;
  nx_id: string;
  name: string;
  site_id: string;
  server_id: string;
  facts: ServerFacts;
  runtime_wanted: string | null;
  online: boolean;
  pipelines: KeptPipeline[];
  pipelines_version: number;
}

export const PIPELINES_ROWS = sql`
  select d.id, d.nx_id, d.name, d.site_id, d.server_id, d.pipelines, d.pipelines_version, sv.facts, sv.runtime_wanted, ${ONLINE} as online
  from devices d join servers sv on sv.id = d.server_id`;

async function requireRow(db: Db | Tx, party: string, id: string): Promise<PipelinesRow> {
  const { rows } =
    await sql<PipelinesRow>`${PIPELINES_ROWS} where d.party_id = ${party} and d.id = ${id}`.execute(db);
  if (rows[0] === undefined) throw new Fault("device.not-found", { uuid: id });
  return rows[0];
}

const numberOf = (row: PipelinesRow) => `${row.id}.pipelines.${row.pipelines_version}`;
const tagOf = (row: PipelinesRow) => `"${numberOf(row)}"`;
const shown = (row: PipelinesRow): Answer => ({
  status: 200,
  body: row.pipelines,
  headers: { etag: tagOf(row), "x-pagination-records": String(row.pipelines.length) },
});

export async function get({ db }: Needs, call: Call<typeof contract.getPipelines>): Promise<Answer> {
  const row = await requireRow(db.soft, call.actor.party.id, call.params.id);
  if (matchesEtag(call.headers["if-none-match"], tagOf(row)))
    return { status: 304, headers: { etag: tagOf(row) } };
  return shown(row);
}

/** What is asked for, from what is there; all checked, or refused with all that is wrong. */
type Change = (now: PipelinesRow) => GivenPipeline[];

interface Save {
  account: string;
  by: string;
  note: string;
}

async function save(
  { db }: Needs,
  call: Pick<Call, "headers" | "actor" | "account"> & { params: { id: string } },
  note: string,
  change: Change,
): Promise<Answer> {
  const { party, id: by } = call.actor;
  const { server_id: server } = await requireRow(db.run, party.id, call.params.id);
  const row = await db.write(async (tx) => {
    await tellServers(tx, call.account.id, [server]);
    const now = await requireRow(tx, party.id, call.params.id);
    requireVersion(call.headers, numberOf(now));
    const { kept, issues } = await check(tx, party.id, now, change(now));
    if (issues.length > 0) throw refusedBy(issues, now.id);
    await write(tx, now, kept, { account: call.account.id, by, note });
    return requireRow(tx, party.id, now.id);
  });
  return shown(row);
}

function refusedBy(issues: readonly Issue[], uuid: string): Fault {
  const { path, message } = issues[0]!;
  const detail = path === "" ? `${message[0]!.toUpperCase()}${message.slice(1)}.` : `${path}: ${message}`;
  return new Fault("pipeline.refused", { detail, uuid, field: path }, { issues: [...issues] });
}

async function check(tx: Db | Tx, party: string, row: PipelinesRow, given: readonly GivenPipeline[]) {
  const models = await knownModels(tx, party, modelsOf(given));
  return checkPipelines(given, { models, server: knownServer(row.facts, row.runtime_wanted) });
}

export const modelsOf = (pipelines: readonly GivenPipeline[]): string[] =>
  pipelines.flatMap(({ modelUUID, chains = [] }) => [modelUUID.toLowerCase(), ...modelsOf(chains)]);

export const runsOf = (kept: readonly KeptPipeline[]): { id: string; number: number }[] =>
  kept.flatMap(({ modelUUID, modelVersion, chains }) => [
    { id: modelUUID, number: modelVersion },
    ...runsOf(chains),
  ]);

/** A. The device's server has been told (C). */
export async function write(
  tx: Tx,
  row: Pick<PipelinesRow, "id" | "pipelines_version">,
  kept: KeptPipeline[],
  { account, by, note }: Save,
): Promise<void> {
  const version = row.pipelines_version + 1;
  const text = JSON.stringify(kept);
  await sql`
    with kept as (
      update devices set pipelines = ${text}::jsonb, pipelines_version = ${version},
        updated_at = date_trunc('milliseconds', now()) where id = ${row.id} returning id
    )
    insert into pipeline_revisions (device_id, version, pipelines, note, created_by)
    select id, ${version}, ${text}::jsonb, ${note}, ${by} from kept`.execute(tx);
  const models = new Map(runsOf(kept).map((run) => [`${run.id} ${run.number}`, run]));
  const runs = [...models.values()];
  await sql`delete from device_models where device_id = ${row.id}`.execute(tx);
  await sql`
    insert into device_models (device_id, function_id, number)
    select ${row.id}, * from unnest(${runs.map(({ id }) => id)}::uuid[], ${runs.map(({ number }) => number)}::int[])`.execute(
    tx,
  );
  const payload = { by, version, note };
  await append(tx, { account, type: "device.pipelines_saved", subject: row.id, payload });
}

export const put = (deps: Needs, call: Call<typeof contract.putPipelines>): Promise<Answer> =>
  save(deps, call, "replaced", () => call.body as GivenPipeline[]);

export const add = (deps: Needs, call: Call<typeof contract.addPipelines>): Promise<Answer> =>
  save(deps, call, "added", ({ pipelines }) => [...pipelines, ...([call.body].flat() as GivenPipeline[])]);

export const addFunctions = (deps: Needs, call: Call<typeof contract.addFunctions>): Promise<Answer> =>
  save(deps, call, "added", ({ pipelines }) => [
    ...pipelines,
    ...call.body.map(({ FunctionUUID }) => ({ modelUUID: FunctionUUID })),
  ]);

export const remove = (deps: Needs, call: Call<typeof contract.removePipeline>): Promise<Answer> =>
  save(deps, call, "removed", ({ pipelines }) => {
    const rest = pipelines.filter(({ UUID }) => UUID !== call.params.pipeline.toLowerCase());
    if (rest.length === pipelines.length)
      throw new Fault("pipeline.not-found", { uuid: call.params.pipeline });
    return rest;
  });

export async function history({ db }: Needs, call: Call<typeof contract.listHistory>): Promise<Answer> {
  const { id } = await requireDevice(db.soft, call.actor.party.id, call.params.id);
  const page = pageOf(call.query, { Version: "version" }, "-Version", "device_id");
  const { rows } = await sql<{
    version: number;
    pipelines: KeptPipeline[];
    note: string;
    created_by: string;
    created_at: Date;
    records: number;
  }>`
    select *, (count(*) over ())::int as records from pipeline_revisions where device_id = ${id}
    order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(db.soft);
  const body = rows.map((row) => ({
    Version: row.version,
    CreatedAt: row.created_at.toISOString(),
    CreatedBy: row.created_by,
    Note: row.note,
    Pipelines: row.pipelines,
  }));
  return paged(body, rows[0]?.records ?? 0);
}

/** Checked again: a model may be gone since. Version 0 is what every device began with: nothing. */
export async function rollBack(deps: Needs, call: Call<typeof contract.rollBack>): Promise<Answer> {
  const { Version: version } = call.body;
  const { id } = await requireDevice(deps.db.run, call.actor.party.id, call.params.id);
  const { rows } = await sql<{ pipelines: KeptPipeline[] }>`
    select pipelines from pipeline_revisions where device_id = ${id} and version = ${version}`.execute(
    deps.db.run,
  );
  const before = version === 0 ? [] : rows[0]?.pipelines;
  if (before === undefined) throw new Fault("pipeline.not-found", { uuid: id });
  return save(deps, call, `rolled back to ${version}`, () => before);
}

export async function clone(deps: Needs, call: Call<typeof contract.clonePipelines>): Promise<Answer> {
  const row = await requireRow(deps.db.run, call.actor.party.id, call.params.id);
  const site = await requireSite(deps.db.run, call.actor.party.id, row.site_id);
  const pipelines = row.pipelines.map(withoutIds);
  return giveToMany(deps, call, {
    site,
    devices: call.body.Devices,
    pipelines,
    note: `cloned from ${row.id}`,
  });
}

/** Each device has its own: ids of pipelines are not shared. */
export const withoutIds = <P extends GivenPipeline>({ UUID: _, chains = [], ...rest }: P): P =>
  ({ ...rest, chains: chains.map(withoutIds) }) as unknown as P;

export async function assign(deps: Needs, call: Call<typeof contract.assignPipelines>): Promise<Answer> {
  const site = await requireSite(deps.db.run, call.actor.party.id, call.params.id);
  const { Devices: devices, Functions = [], Pipelines = [] } = call.body;
  const pipelines = [...(Pipelines as GivenPipeline[]), ...Functions.map((modelUUID) => ({ modelUUID }))];
  return giveToMany(deps, call, { site, devices, pipelines, note: "assigned" });
}

interface Giving {
  site: { id: string; online: boolean };
  devices: readonly string[];
  pipelines: readonly GivenPipeline[];
  note: string;
}

interface Rejected {
  Device: string;
  Reason: string;
  Issues: Issue[];
}

async function giveToMany(
  { db }: Needs,
  call: { actor: Call["actor"]; account: Call["account"]; query: { dryRun?: string | undefined } },
  { site, devices, pipelines, note }: Giving,
): Promise<Answer> {
  const { party, id: by } = call.actor;
  if (!site.online) throw new Fault("site.offline", { uuid: site.id });
  const asked = new Map(devices.map((given) => [bare(given), given]));
  const uuids = [...asked.keys()].filter((each) => UUID.test(each));
  const { rows: servers } = await sql<{ server_id: string }>`
    select distinct server_id from devices where site_id = ${site.id} and (id = any(${uuids}::uuid[]) or nx_id = any(${uuids}::uuid[]))`.execute(
    db.run,
  );
  const dry = call.query.dryRun === "1";
  const outcome = await db.write(async (tx) => {
    const Applied: string[] = [];
    const Rejected: Rejected[] = [];
    if (!dry)
      await tellServers(
        tx,
        call.account.id,
        servers.map((each) => each.server_id),
      );
    const { rows } = await sql<PipelinesRow>`
      ${PIPELINES_ROWS} where d.party_id = ${party.id} and d.site_id = ${site.id}
        and (d.id = any(${uuids}::uuid[]) or d.nx_id = any(${uuids}::uuid[])) order by d.id`.execute(tx);
    const found = new Map(rows.flatMap((row) => [[row.id, row] as const, [row.nx_id, row] as const]));
    const done = new Set<string>();
    for (const [uuid, given] of asked) {
      const row = found.get(uuid);
      if (row === undefined)
        Rejected.push({ Device: given, Reason: "there is no such device at this site", Issues: [] });
      if (row === undefined || done.has(row.id)) continue;
      done.add(row.id);
      const { kept, issues } = await check(tx, party.id, row, pipelines);
      if (!row.online) Rejected.push({ Device: given, Reason: "its server is offline", Issues: [] });
      else if (issues.length > 0)
        Rejected.push({ Device: given, Reason: issues[0]!.message, Issues: issues });
      else {
        if (!dry) await write(tx, row, kept, { account: call.account.id, by, note });
        Applied.push(row.id);
      }
    }
    // Nothing was changed, so nobody is told of a change.
    if (Applied.length === 0)
      throw new Fault("device.none-applicable", { detail: Rejected[0]?.Reason ?? "none was named" });
    return { Applied, Rejected };
  });
  return { status: 200, body: outcome };
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Clients of the original write ids of devices in braces. */
const bare = (given: string): string =>
  given
    .trim()
    .replace(/^\{(.*)\}$/, "$1")
    .toLowerCase();
