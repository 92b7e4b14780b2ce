// SPDX-License-Identifier: Apache-2.0
/** Models: listed, read, deleted, with their reports, versions and aliases. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/models/functions.ts";
import { STATUSES } from "#contract/models/vocabulary.ts";
import type { Report } from "#models/job.ts";
import { append } from "../../core/journal/index.ts";
import { functionSeen, removeFunction } from "../../core/models/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { shown } from "../../http/etag.ts";
import { paged, pageOf } from "../../http/paging.ts";
import { waitFor } from "../../http/wait-for.ts";
import type { ModelsDeps } from "./deps.ts";
import { findFunctions, functionView, requireFunction, requireOwn } from "./rows.ts";

type Needs = Pick<ModelsDeps, "db">;

const ORDERS = { Name: "f.name", CreatedAt: "f.created_at", UpdatedAt: "f.updated_at", Status: "f.status" };
/** All models that may be seen, whatever catalogue they are in. */
const EVERY = "00000000-0000-0000-0000-000000000000";

export async function list({ db }: Needs, call: Call<typeof contract.listFunctions>): Promise<Answer> {
  const { q, Catalogue, Customization, Status, Kind, Tag } = call.query;
  const page = pageOf(call.query, ORDERS, "-UpdatedAt", "f.id");
  const conditions = [
    sql`true`,
    ...(q === undefined ? [] : [sql`position(lower(${q}) in lower(f.name || ' ' || f.alias)) > 0`]),
    ...(Catalogue === undefined || Catalogue === EVERY
      ? []
      : [
          sql`exists (select from catalogue_functions x where x.function_id = f.id and x.catalogue_id = ${Catalogue})`,
        ]),
    ...(Customization === undefined ? [] : [sql`f.customization = ${Customization}`]),
    ...(Status === undefined ? [] : [sql`f.status = ${Status}`]),
    ...(Kind === undefined ? [] : [sql`f.kind = ${Kind}`]),
    ...(Tag === undefined ? [] : [sql`${Tag} = any(f.tags)`]),
  ];
  const condition = sql.join(conditions, sql` and `);
  const rows = await findFunctions(db.soft, call.actor, condition, page);
  return paged(rows.map(functionView), rows[0]?.records ?? (await count(db, call, condition)));
}

async function count(
  { soft }: ModelsDeps["db"],
  { actor }: Call,
  condition: ReturnType<typeof sql>,
): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from functions f where ${functionSeen(actor)} and ${condition}`.execute(
    soft,
  );
  return rows[0]!.count;
}

/** When there is nothing more to be done by itself; another version, or another target, begins anew. */
const SETTLED = ["ok", "error"];

export async function get(
  { db, feed }: Pick<ModelsDeps, "db" | "feed">,
  call: Call<typeof contract.getFunction>,
): Promise<Answer> {
  const row = await waitFor(call, {
    states: STATUSES,
    read: () => requireFunction(db.run, call.actor, call.params.uuid),
    statusOf: ({ status }) => status,
    isOver: ({ status }) => SETTLED.includes(status),
    more: ({ id }, timeoutMs, signal) => feed.wait(id, timeoutMs, signal),
  });
  return shown(call.headers, row.version, functionView(row));
}

const REMOVED = {
  deleted: "The model is deleted.",
  withdrawn: "The model is withdrawn; it is deleted when the devices of others that run it no longer do.",
};

export async function remove({ db }: Needs, call: Call<typeof contract.deleteFunction>): Promise<Answer> {
  const { uuid } = call.params;
  await requireOwn(db.run, call.actor, uuid);
  const outcome = await db.write(async (tx) => {
    const removed = await removeFunction(tx, call.actor.party.id, uuid);
    if (removed === "absent") throw new Fault("function.not-found", { uuid });
    if (removed === "deployed") throw new Fault("function.deployed", { uuid });
    await append(tx, {
      ...{ account: call.account.id, type: `model.${removed}`, subject: uuid },
      payload: { by: call.actor.id },
    });
    return removed;
  });
  return { status: 200, body: { Message: REMOVED[outcome], UUID: uuid } };
}

export async function statistics(
  { db, config }: Pick<ModelsDeps, "db" | "config">,
  call: Call<typeof contract.functionStatistics>,
): Promise<Answer> {
  const { rows } = await sql<{
    total: number;
    statuses: Record<string, number> | null;
    catalogues: Record<string, number> | null;
    bytes: number;
  }>`
    with own as (select f.id, f.status from functions f where f.party_id = ${call.actor.party.id} and f.withdrawn_at is null)
    select (select count(*)::int from own) as total,
      (select json_object_agg(status, n) from (select status, count(*)::int as n from own group by status) s) as statuses,
      (select json_object_agg(catalogue_id, n) from (
        select catalogue_id, count(*)::int as n from catalogue_functions cf join own on own.id = cf.function_id
        group by catalogue_id) c) as catalogues,
      coalesce((select bytes from model_usage where party_id = ${call.actor.party.id}), 0) as bytes`.execute(
    db.soft,
  );
  const { total, statuses, catalogues, bytes } = rows[0]!;
  return {
    status: 200,
    body: {
      ...{ Total: total, ByStatus: statuses ?? {}, ByCatalogue: catalogues ?? {} },
      ...{ StorageBytes: bytes, StorageBytesMax: config.bytesPerAccount },
    },
  };
}

interface VersionRow {
  number: number;
  sha256: string;
  size_bytes: number;
  created_at: Date;
  created_by: string;
  notes: string;
  report: Report | null;
  repaired: Report | null;
  records: number;
}

const versions = (
  id: string,
  condition: ReturnType<typeof sql>,
  rest: ReturnType<typeof sql>,
) => sql<VersionRow>`
  select number, encode(sha256, 'hex') as sha256, size_bytes, created_at, created_by, notes, report, repaired,
    (count(*) over ())::int as records
  from function_versions where function_id = ${id} and ${condition} ${rest}`;

const versionView = (row: VersionRow) => ({
  Number: row.number,
  SHA256: row.sha256,
  Size: row.size_bytes,
  CreatedAt: row.created_at.toISOString(),
  CreatedBy: row.created_by,
  Validation: row.repaired ?? row.report,
  Notes: row.notes,
});

export async function listVersions({ db }: Needs, call: Call<typeof contract.listVersions>): Promise<Answer> {
  await requireFunction(db.run, call.actor, call.params.uuid);
  const page = pageOf(call.query, { Number: "number" }, "-Number", "number");
  const part = sql`order by ${page.order} limit ${page.limit} offset ${page.offset}`;
  const { rows } = await versions(call.params.uuid, sql`true`, part).execute(db.run);
  const records =
    rows[0]?.records ?? (await versions(call.params.uuid, sql`true`, sql``).execute(db.run)).rows.length;
  return paged(rows.map(versionView), records);
}

export async function getVersion({ db }: Needs, call: Call<typeof contract.getVersion>): Promise<Answer> {
  const { uuid, number } = call.params;
  await requireFunction(db.run, call.actor, uuid);
  return { status: 200, body: versionView(await requireVersion(db, uuid, Number(number))) };
}

async function requireVersion(db: ModelsDeps["db"], id: string, number: number): Promise<VersionRow> {
  const { rows } = await versions(id, sql`number = ${number}`, sql``).execute(db.run);
  if (rows[0] === undefined) throw new Fault("function.not-found", { uuid: id });
  return rows[0];
}

export async function validation({ db }: Needs, call: Call<typeof contract.getValidation>): Promise<Answer> {
  const row = await requireFunction(db.run, call.actor, call.params.uuid);
  const { report, repaired } = await requireVersion(db, row.id, call.query.Version ?? row.latest);
  const found = repaired ?? report;
  if (found === null) throw new Fault("function.not-read", { uuid: row.id }, { retryAfterSeconds: 2 });
  return { status: 200, body: found };
}

export async function putAlias({ db }: Needs, call: Call<typeof contract.putAlias>): Promise<Answer> {
  const { uuid, name } = call.params;
  await requireOwn(db.run, call.actor, uuid);
  await requireVersion(db, uuid, call.body.Version);
  const { Version: version } = call.body;
  await db.write(async (tx) => {
    const { rows } = await sql`
      insert into function_aliases as a (function_id, name, number) values (${uuid}, ${name}, ${version})
      on conflict (function_id, name) do update set number = excluded.number where a.number <> excluded.number
      returning 1`.execute(tx);
    if (rows.length === 0) return;
    const payload = { by: call.actor.id, alias: name, version };
    await append(tx, {
      account: call.account.id,
      type: "model.alias_set",
      subject: uuid.toLowerCase(),
      payload,
    });
  });
  return aliases(db, call, uuid);
}

export async function deleteAlias({ db }: Needs, call: Call<typeof contract.deleteAlias>): Promise<Answer> {
  const { uuid, name } = call.params;
  await requireOwn(db.run, call.actor, uuid);
  if (name === "default")
    throw new Fault("request.invalid", { detail: "The alias default stays.", field: "name" });
  await db.write(async (tx) => {
    const { rows } = await sql`
      delete from function_aliases where function_id = ${uuid} and name = ${name} returning 1`.execute(tx);
    if (rows.length === 0) return;
    const entry = { account: call.account.id, type: "model.alias_removed", subject: uuid.toLowerCase() };
    await append(tx, { ...entry, payload: { by: call.actor.id, alias: name } });
  });
  return aliases(db, call, uuid);
}

async function aliases(db: ModelsDeps["db"], { actor }: Call, id: string): Promise<Answer> {
  return { status: 200, body: (await requireFunction(db.run, actor, id)).aliases ?? {} };
}
