// SPDX-License-Identifier: Apache-2.0
/** Servers as their owner sees them. */
import { sql } from "kysely";
import type * as contract from "#contract/devices/servers.ts";
import { Fault } from "#contract/errors.ts";
import { append } from "../../core/journal/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { etagOf, requireVersion, shown } from "../../http/etag.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { DevicesDeps } from "./deps.ts";
import { listServerRows, requireServer, requireSite, type ServerRow } from "./rows.ts";
import { tellServers } from "./tell.ts";
import { gone, versionOfServer, viewServer } from "./view.ts";

type Needs = Pick<DevicesDeps, "db">;
const ORDERS = { Name: "name", CreatedAt: "created_at", LastSeen: "last_seen" };

export async function list({ db }: Needs, call: Call<typeof contract.listServers>): Promise<Answer> {
  const site = await requireSite(db.soft, call.actor.party.id, call.params.id);
  const { rows, records } = await listServerRows(db.soft, site.id, pageOf(call.query, ORDERS, "Name", "id"));
  return paged(rows.map(viewServer), records);
}

export async function get({ db }: Needs, call: Call<typeof contract.getServer>): Promise<Answer> {
  const row = await requireServer(db.soft, call.actor.party.id, call.params.id);
  return shown(call.headers, versionOfServer(row), viewServer(row));
}

export async function change({ db }: Needs, call: Call<typeof contract.patchServer>): Promise<Answer> {
  const { party, id: by } = call.actor;
  const { id, account_id } = await requireServer(db.run, party.id, call.params.id);
  const { Name: name, Settings: settings } = call.body;
  await db.write(async (tx) => {
    if (settings === undefined) await sql`select from servers where id = ${id} for update`.execute(tx);
    else await tellServers(tx, account_id, [id]);
    const row = await requireServer(tx, party.id, id);
    requireVersion(call.headers, versionOfServer(row));
    await sql`
      update servers set name = ${name ?? row.name}, settings = ${JSON.stringify(settings ?? row.settings)}::jsonb,
        updated_at = date_trunc('milliseconds', now())
      where id = ${id}`.execute(tx);
    const entry = { account: call.account.id, subject: id };
    if (name !== undefined) await append(tx, { ...entry, type: "server.renamed", payload: { by, name } });
    if (settings !== undefined)
      await append(tx, { ...entry, type: "server.settings_changed", payload: { by, settings } });
  });
  return changed(await requireServer(db.run, party.id, id));
}

function changed(row: ServerRow): Answer {
  const body = viewServer(row);
  return { status: 200, body, headers: { etag: etagOf(versionOfServer(row), body) } };
}

/** With its devices and its key. What it runs it goes on running until it asks again, and is refused. */
export async function remove({ db }: Needs, call: Call<typeof contract.deleteServer>): Promise<Answer> {
  const { party, id: by } = call.actor;
  const server = await requireServer(db.run, party.id, call.params.id);
  await db.write(async (tx) => {
    await tellServers(tx, server.account_id, [server.id]);
    await sql`delete from devices where server_id = ${server.id}`.execute(tx);
    await sql`delete from servers where id = ${server.id}`.execute(tx);
    const payload = { by, server: server.id };
    await append(tx, {
      account: call.account.id,
      type: "site.server_removed",
      subject: server.site_id,
      payload,
    });
  });
  return gone(server.id);
}

export async function selectRuntime(
  { db }: Needs,
  call: Call<typeof contract.selectRuntime>,
): Promise<Answer> {
  const { party, id: by } = call.actor;
  const server = await requireServer(db.run, party.id, call.params.id);
  const wanted = call.body.Runtime;
  if (!(server.facts.AvailableRuntimes ?? []).some(({ Name }) => Name === wanted))
    throw new Fault("server.runtime", { uuid: server.id, field: "Runtime" });
  await db.write(async (tx) => {
    await tellServers(tx, server.account_id, [server.id]);
    requireVersion(call.headers, versionOfServer(await requireServer(tx, party.id, server.id)));
    await sql`update servers set runtime_wanted = ${wanted} where id = ${server.id}`.execute(tx);
    const payload = { by, runtime: wanted };
    await append(tx, {
      account: call.account.id,
      type: "server.runtime_selected",
      subject: server.id,
      payload,
    });
  });
  return changed(await requireServer(db.run, party.id, server.id));
}
