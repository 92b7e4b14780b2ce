// SPDX-License-Identifier: Apache-2.0
/** Sites: added, renamed, removed when nothing is there any more. */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type * as contract from "#contract/devices/systems.ts";
import { Fault } from "#contract/errors.ts";
import { append } from "../../core/journal/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { etagOf, requireVersion, shown } from "../../http/etag.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { DevicesDeps } from "./deps.ts";
import { listSites, requireSite } from "./rows.ts";
import { gone, versionOf, viewSystem } from "./view.ts";

type Needs = Pick<DevicesDeps, "db">;
const ORDERS = { Name: "name", CreatedAt: "created_at", UpdatedAt: "updated_at", LastSeen: "last_seen" };

export async function list({ db }: Needs, call: Call<typeof contract.listSystems>): Promise<Answer> {
  const page = pageOf(call.query, ORDERS, "Name", "id");
  const { q, Status } = call.query;
  const { rows, records } = await listSites(db.soft, call.actor.party.id, q, Status, page);
  return paged(rows.map(viewSystem), records);
}

export async function create({ db }: Needs, call: Call<typeof contract.createSystem>): Promise<Answer> {
  const id = randomUUID();
  const { party, id: by } = call.actor;
  await db.write(async (tx) => {
    await sql`insert into sites (id, party_id, name) values (${id}, ${party.id}, ${call.body.Name})`.execute(
      tx,
    );
    const payload = { by, name: call.body.Name };
    await append(tx, { account: call.account.id, type: "site.created", subject: id, payload });
  });
  const row = await requireSite(db.run, party.id, id);
  const body = viewSystem(row);
  const etag = etagOf(versionOf(row), body);
  return { status: 201, body, headers: { location: `/dev/system/${id}`, etag } };
}

export async function get({ db }: Needs, call: Call<typeof contract.getSystem>): Promise<Answer> {
  const row = await requireSite(db.soft, call.actor.party.id, call.params.id);
  return shown(call.headers, versionOf(row), viewSystem(row));
}

export async function change({ db }: Needs, call: Call<typeof contract.patchSystem>): Promise<Answer> {
  const { party, id: by } = call.actor;
  const row = await requireSite(db.run, party.id, call.params.id);
  requireVersion(call.headers, versionOf(row));
  const entry = { account: call.account.id, type: "site.renamed", subject: row.id };
  const { rows } = await db.write(async (tx) => {
    const changed = await sql`
    update sites set name = ${call.body.Name}, version = version + 1, updated_at = date_trunc('milliseconds', now())
    where id = ${row.id} and (${call.headers["if-match"] === undefined} or version = ${row.version})
    returning id`.execute(tx);
    if (changed.rows.length === 1) await append(tx, { ...entry, payload: { by, name: call.body.Name } });
    return changed;
  });
  if (rows.length === 0) throw new Fault("request.precondition");
  const changed = await requireSite(db.run, party.id, row.id);
  const body = viewSystem(changed);
  return { status: 200, body, headers: { etag: etagOf(versionOf(changed), body) } };
}

export async function remove({ db }: Needs, call: Call<typeof contract.deleteSystem>): Promise<Answer> {
  const { party, id: by } = call.actor;
  const row = await requireSite(db.run, party.id, call.params.id);
  await db.write(async (tx) => {
    // Whoever is let in at this moment waits for this lock, and then finds no site.
    await sql`select from sites where id = ${row.id} for update`.execute(tx);
    const { rows } = await sql`select from servers where site_id = ${row.id} limit 1`.execute(tx);
    if (rows.length > 0) throw new Fault("site.not-empty", { uuid: row.id });
    await sql`delete from sites where id = ${row.id}`.execute(tx);
    await append(tx, { account: call.account.id, type: "site.deleted", subject: row.id, payload: { by } });
  });
  return gone(row.id);
}
