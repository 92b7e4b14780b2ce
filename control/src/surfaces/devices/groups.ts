// SPDX-License-Identifier: Apache-2.0
/** Groups of devices, of any sites of one owner. */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type * as contract from "#contract/devices/groups.ts";
import { Fault } from "#contract/errors.ts";
import { append } from "../../core/journal/index.ts";
import type { Tx } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { etagOf, requireVersion, shown } from "../../http/etag.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { DevicesDeps } from "./deps.ts";
import { type GroupRow, listGroupRows, requireDevice, requireGroup } from "./rows.ts";
import { gone, versionOfGroup, viewGroup } from "./view.ts";

type Needs = Pick<DevicesDeps, "db">;
const ORDERS = { Name: "name", CreatedAt: "created_at", UpdatedAt: "updated_at" };

export async function list({ db }: Needs, call: Call<typeof contract.listGroups>): Promise<Answer> {
  const page = pageOf(call.query, ORDERS, "Name", "id");
  const { rows, records } = await listGroupRows(db.soft, call.actor.party.id, call.query.q, page);
  return paged(rows.map(viewGroup), records);
}

export async function create({ db }: Needs, call: Call<typeof contract.createGroup>): Promise<Answer> {
  const id = randomUUID();
  const { party } = call.actor;
  await db.write(async (tx) => {
    await sql`insert into device_groups (id, party_id, name) values (${id}, ${party.id}, ${call.body.Name})`.execute(
      tx,
    );
    await note(tx, call, "created", id, { name: call.body.Name });
  });
  const row = await requireGroup(db.run, party.id, id);
  const answer = changed(row);
  return { ...answer, status: 201, headers: { ...answer.headers, location: `/dev/group/${id}` } };
}

export async function get({ db }: Needs, call: Call<typeof contract.getGroup>): Promise<Answer> {
  const row = await requireGroup(db.soft, call.actor.party.id, call.params.id);
  return shown(call.headers, versionOfGroup(row), viewGroup(row));
}

function changed(row: GroupRow) {
  const body = viewGroup(row);
  return { status: 200, body, headers: { etag: etagOf(versionOfGroup(row), body) } };
}

export async function change({ db }: Needs, call: Call<typeof contract.patchGroup>): Promise<Answer> {
  const { party } = call.actor;
  const { id } = await requireGroup(db.run, party.id, call.params.id);
  await db.write(async (tx) => {
    await sql`select from device_groups where id = ${id} for update`.execute(tx);
    requireVersion(call.headers, versionOfGroup(await requireGroup(tx, party.id, id)));
    await sql`
      update device_groups set name = ${call.body.Name}, updated_at = date_trunc('milliseconds', now())
      where id = ${id}`.execute(tx);
    await note(tx, call, "renamed", id, { name: call.body.Name });
  });
  return changed(await requireGroup(db.run, party.id, id));
}

export async function remove({ db }: Needs, call: Call<typeof contract.deleteGroup>): Promise<Answer> {
  const { id } = await requireGroup(db.run, call.actor.party.id, call.params.id);
  await db.write(async (tx) => {
    await sql`delete from device_groups where id = ${id}`.execute(tx);
    await note(tx, call, "deleted", id);
  });
  return gone(id);
}

/** All of them or none: one that is not the caller's own names itself as missing. */
export async function addDevices({ db }: Needs, call: Call<typeof contract.addToGroup>): Promise<Answer> {
  const { party } = call.actor;
  const { id } = await requireGroup(db.run, party.id, call.params.id);
  const given = Array.isArray(call.body) ? call.body : call.body.Devices;
  const asked = [...new Set(given.map((uuid) => uuid.toLowerCase()))];
  await db.write(async (tx) => {
    const { rows } = await sql<{ id: string }>`
      select id from devices where party_id = ${party.id} and id = any(${asked}::uuid[]) order by id for key share`.execute(
      tx,
    );
    const found = new Set(rows.map((row) => row.id));
    const missing = asked.find((uuid) => !found.has(uuid));
    if (missing !== undefined) throw new Fault("device.not-found", { uuid: missing });
    await sql`
      insert into device_group_members (group_id, device_id) select ${id}, unnest(${asked}::uuid[])
      on conflict do nothing`.execute(tx);
    await note(tx, call, "devices_added", id, { count: asked.length });
  });
  return changed(await requireGroup(db.run, party.id, id));
}

export async function removeDevice(
  { db }: Needs,
  call: Call<typeof contract.removeFromGroup>,
): Promise<Answer> {
  const { party } = call.actor;
  const device = await requireDevice(db.run, party.id, call.params.id);
  const group = await requireGroup(db.run, party.id, call.params.group);
  await db.write(async (tx) => {
    await sql`
      delete from device_group_members where group_id = ${group.id} and device_id = ${device.id}`.execute(tx);
    await note(tx, call, "device_removed", group.id, { device: device.id });
  });
  return gone(device.id);
}

const note = (
  tx: Tx,
  { account, actor }: Pick<Call, "account" | "actor">,
  what: string,
  subject: string,
  facts: Record<string, unknown> = {},
) => append(tx, { account: account.id, type: `group.${what}`, subject, payload: { by: actor.id, ...facts } });
