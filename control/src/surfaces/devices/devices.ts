// SPDX-License-Identifier: Apache-2.0
/** Devices: added by their owner or by their server, switched on and off, removed. */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type * as contract from "#contract/devices/devices.ts";
import type { putOwnDevice } from "#contract/devices/servers.ts";
import { Fault } from "#contract/errors.ts";
import { append } from "../../core/journal/index.ts";
import type { Tx } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { etagOf, requireVersion, shown } from "../../http/etag.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { DevicesDeps } from "./deps.ts";
import { admit, useToken } from "./enrolment.ts";
import {
  listDeviceRows,
  ONLINE,
  requireDevice,
  requireOwnServer,
  requireServer,
  requireSite,
  type ServerRow,
} from "./rows.ts";
import { tellServers } from "./tell.ts";
import { gone, versionOf, viewDevice } from "./view.ts";

type Needs = Pick<DevicesDeps, "db">;

/** Of one server, whatever it says it has: what one program could look at, many times over. */
const DEVICES_MAX = 1000;
const ORDERS = { Name: "d.name", CreatedAt: "d.created_at", UpdatedAt: "d.updated_at" };
const pageFor = (query: Parameters<typeof pageOf>[0]) => pageOf(query, ORDERS, "Name", "d.id");

export async function list({ db }: Needs, call: Call<typeof contract.listDevices>): Promise<Answer> {
  const { rows, records } = await listDeviceRows(
    db.soft,
    call.actor.party.id,
    call.query,
    pageFor(call.query),
  );
  return paged(rows.map(viewDevice), records);
}

export async function listOfSystem(
  { db }: Needs,
  call: Call<typeof contract.listSystemDevices>,
): Promise<Answer> {
  const site = await requireSite(db.soft, call.actor.party.id, call.params.id);
  const asked = { ...call.query, System: site.id };
  const { rows, records } = await listDeviceRows(db.soft, call.actor.party.id, asked, pageFor(call.query));
  return paged(rows.map(viewDevice), records);
}

interface NewDevice {
  name: string;
  serial: string;
  type: string;
  tags: string[];
  enabled: boolean;
  active: boolean;
}

async function add(tx: Tx, party: string, server: ServerRow, device: NewDevice, by: string): Promise<string> {
  await tellServers(tx, server.account_id, [server.id]);
  // Whoever counts the site's devices wants its row alone, and whoever adds one holds it with all who add.
  await sql`select from sites where id = ${server.site_id} for update`.execute(tx);
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from devices where server_id = ${server.id}`.execute(tx);
  if (rows[0]!.n >= DEVICES_MAX) throw new Fault("device.too-many", { limit: DEVICES_MAX });
  const id = randomUUID();
  await sql`
    insert into devices (id, nx_id, party_id, site_id, server_id, name, serial, type, tags, enabled, active)
    values (${id}, ${randomUUID()}, ${party}, ${server.site_id}, ${server.id}, ${device.name}, ${device.serial},
      ${device.type}, ${device.tags}::text[], ${device.enabled}, ${device.active})`
    .execute(tx)
    .catch(orTaken);
  const payload = { by, server: server.id };
  await append(tx, { account: server.account_id, type: "device.added", subject: id, payload });
  return id;
}

/** Another device of the server has this serial. */
function orTaken(error: unknown): never {
  if ((error as { code?: string }).code === "23505") throw new Fault("device.exists", { field: "Serial" });
  throw error;
}

export async function create({ db }: Needs, call: Call<typeof contract.createDevice>): Promise<Answer> {
  const { party, id: by } = call.actor;
  const { Name: name, Serial: serial = "", Type: type = "", Tags: tags = [] } = call.body;
  const { Enabled: enabled = true, Active: active = false, Server, RegistrationToken, Runtime } = call.body;
  if ((Server === undefined) === (RegistrationToken === undefined))
    throw new Fault("request.invalid", {
      detail: "One of Server and RegistrationToken says where the device is.",
      field: "Server",
    });
  const device = { name, serial, type, tags, enabled, active };
  const made = await db.write(async (tx) => {
    const { server, key } =
      Server === undefined
        ? await ownServer(tx, party.id, RegistrationToken!, name)
        : { server: await requireServer(tx, party.id, Server), key: null };
    const id = await add(tx, party.id, server, device, by);
    // One that has just come in has not said yet what it has.
    if (Runtime !== undefined) await wantRuntime(tx, server, Runtime, key !== null);
    return { id, key };
  });
  const row = await requireDevice(db.run, party.id, made.id);
  const view = viewDevice(row);
  return {
    status: 201,
    body: { ...view, ...(made.key !== null && { Key: made.key }) },
    headers: { location: `/dev/device/${made.id}`, etag: etagOf(versionOf(row), view) },
  };
}

/** A device that is a machine of its own comes in with a server that has nothing else. */
async function ownServer(
  tx: Tx,
  party: string,
  token: string,
  name: string,
): Promise<{ server: ServerRow; key: string }> {
  const id = randomUUID();
  const word = await useToken(tx, token, id, null, party);
  // Held with others by who is let in, and alone by who adds a device: here it is the same one.
  await sql`select from sites where id = ${word.site} for update`.execute(tx);
  const key = await admit(tx, { id, name, ...word });
  return { server: await requireServer(tx, party, id), key };
}

/** In a transaction that has told the server (tell.ts). */
async function wantRuntime(tx: Tx, { id, facts }: ServerRow, wanted: string, unknown = false): Promise<void> {
  if (!unknown && !(facts.AvailableRuntimes ?? []).some(({ Name }) => Name === wanted))
    throw new Fault("server.runtime", { uuid: id, field: "Runtime" });
  await sql`update servers set runtime_wanted = ${wanted} where id = ${id}`.execute(tx);
}

/** Told again by the same serial it is the same device, with the name that its owner may have given it. */
export async function putOwn({ db }: Needs, call: Call<typeof putOwnDevice>): Promise<Answer> {
  const server = await requireOwnServer(db.run, call.principal?.serverId ?? null, call.params.id);
  const { Name: name, Serial: serial, Type: type = "", Tags: tags = [] } = call.body;
  const party = await sql<{
    party_id: string;
  }>`select party_id from sites where id = ${server.site_id}`.execute(db.run);
  const owner = party.rows[0]!.party_id;
  const [id, known] = await db.write(async (tx) => {
    // Two tellings at once take turns here.
    await sql`select from servers where id = ${server.id} for update`.execute(tx);
    const { rows } = await sql<{ id: string }>`
      select id from devices where server_id = ${server.id} and serial = ${serial} and serial <> ''`.execute(
      tx,
    );
    if (rows.length > 0) return [rows[0]!.id, true] as const;
    const device = { name, serial, type, tags, enabled: true, active: false };
    return [await add(tx, owner, server, device, server.id), false] as const;
  });
  return { status: known ? 200 : 201, body: viewDevice(await requireDevice(db.run, owner, id)) };
}

export async function get({ db }: Needs, call: Call<typeof contract.getDevice>): Promise<Answer> {
  const row = await requireDevice(db.soft, call.actor.party.id, call.params.id);
  return shown(call.headers, versionOf(row), viewDevice(row));
}

export async function change({ db }: Needs, call: Call<typeof contract.patchDevice>): Promise<Answer> {
  const { party, id: by } = call.actor;
  const { id, server_id: server } = await requireDevice(db.run, party.id, call.params.id);
  const { Name = null, Type = null, Tags = null, Enabled = null, Active = null } = call.body;
  const { Serial = null, Runtime } = call.body;
  await db.write(async (tx) => {
    await tellServers(tx, call.account.id, [server]);
    requireVersion(call.headers, versionOf(await requireDevice(tx, party.id, id)));
    await sql`
      update devices set name = coalesce(${Name}::text, name), type = coalesce(${Type}::text, type),
        serial = coalesce(${Serial}::text, serial), tags = coalesce(${Tags}::text[], tags), enabled = coalesce(${Enabled}::boolean, enabled),
        active = coalesce(${Active}::boolean, active), version = version + 1,
        updated_at = date_trunc('milliseconds', now())
      where id = ${id}`
      .execute(tx)
      .catch(orTaken);
    if (Runtime !== undefined) await wantRuntime(tx, await requireServer(tx, party.id, server), Runtime);
    const payload = { by, changed: Object.keys(call.body) };
    await append(tx, { account: call.account.id, type: "device.changed", subject: id, payload });
  });
  const row = await requireDevice(db.run, party.id, id);
  const body = viewDevice(row);
  return { status: 200, body, headers: { etag: etagOf(versionOf(row), body) } };
}

export async function remove({ db }: Needs, call: Call<typeof contract.deleteDevice>): Promise<Answer> {
  const { party, id: by } = call.actor;
  const device = await requireDevice(db.run, party.id, call.params.id);
  await db.write(async (tx) => {
    await tellServers(tx, call.account.id, [device.server_id]);
    await sql`delete from devices where id = ${device.id}`.execute(tx);
    const payload = { by, server: device.server_id };
    await append(tx, { account: call.account.id, type: "device.removed", subject: device.id, payload });
  });
  return gone(device.id);
}

export async function statistics({ db }: Needs, call: Call<typeof contract.statistics>): Promise<Answer> {
  const party = call.actor.party.id;
  const { rows } = await sql<{ runtime: string | null; online: boolean; n: number; active: number }>`
    select sv.facts->'Runtime'->>'Name' as runtime, ${ONLINE} as online,
      count(*)::int as n, count(*) filter (where d.active)::int as active
    from devices d join servers sv on sv.id = d.server_id where d.party_id = ${party}
    group by 1, 2`.execute(db.soft);
  const { rows: counted } = await sql<{ n: number }>`
    select least(coalesce(sum(i.counted), 0), ${sql.lit(Number.MAX_SAFE_INTEGER)})::bigint as n
    from sites s join servers sv on sv.site_id = s.id join server_inferences i on i.server_id = sv.id
    where s.party_id = ${party}`.execute(db.soft);
  const total = (of: (row: (typeof rows)[0]) => number) => rows.reduce((sum, row) => sum + of(row), 0);
  const byRuntime = new Map<string, number>();
  for (const { runtime, n } of rows)
    if (runtime !== null) byRuntime.set(runtime, (byRuntime.get(runtime) ?? 0) + n);
  return {
    status: 200,
    body: {
      Total: total(({ n }) => n),
      Online: total(({ online, n }) => (online ? n : 0)),
      Active: total(({ active }) => active),
      ByRuntime: Object.fromEntries(byRuntime),
      Inferences: counted[0]!.n,
    },
  };
}
