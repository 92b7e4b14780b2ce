// SPDX-License-Identifier: Apache-2.0
/** Catalogues: made, shown to others, filled and emptied. */
import { randomUUID } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/models/catalogues.ts";
import type { Actor } from "../../core/identity/index.ts";
import { catalogueSeen } from "../../core/models/index.ts";
import type { Db, Tx } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { ModelsDeps } from "./deps.ts";
import { requireOwn as requireOwnFunction } from "./rows.ts";

type Needs = Pick<ModelsDeps, "db">;

interface Row {
  id: string;
  party_id: string;
  party_name: string;
  name: string;
  visibility: "private" | "organization" | "public";
  guests: string[] | null;
  functions: number;
  version: number;
  created_at: Date;
  updated_at: Date;
  records: number;
}

const ORDERS = { Name: "c.name", CreatedAt: "c.created_at", UpdatedAt: "c.updated_at" };

async function find(
  db: Db | Tx,
  actor: Actor,
  condition: RawBuilder<unknown>,
  rest: RawBuilder<unknown> = sql``,
): Promise<Row[]> {
  const { rows } = await sql<Row>`
    select c.*, p.name as party_name, (count(*) over ())::int as records,
      (select json_agg(g.party_id order by g.party_id) from catalogue_guests g where g.catalogue_id = c.id) as guests,
      (select count(*)::int from catalogue_functions cf where cf.catalogue_id = c.id) as functions
    from catalogues c join parties p on p.id = c.party_id
    where ${catalogueSeen(actor)} and ${condition} ${rest}`.execute(db);
  return rows;
}

async function requireSeen(db: Db | Tx, actor: Actor, id: string): Promise<Row> {
  const [row] = await find(db, actor, sql`c.id = ${id}`);
  if (row === undefined) throw new Fault("catalogue.not-found", { uuid: id });
  return row;
}

async function requireOwn(db: Db | Tx, actor: Actor, id: string): Promise<Row> {
  const row = await requireSeen(db, actor, id);
  if (row.party_id !== actor.party.id) throw new Fault("models.not-owner", { uuid: id });
  return row;
}

const view = (row: Row, actor: Actor) => ({
  UUID: row.id,
  Name: row.name,
  Visibility: row.visibility,
  Organisation: { UUID: row.party_id, Name: row.party_name },
  // Whom else it is shown to is its owner's to know.
  Organisations: row.party_id === actor.party.id ? (row.guests ?? []) : [],
  FunctionCount: row.functions,
  CreatedAt: row.created_at.toISOString(),
  UpdatedAt: row.updated_at.toISOString(),
});

const answer = (row: Row, actor: Actor, status = 200): Answer => ({
  status,
  body: view(row, actor),
  headers: { etag: `"${row.version}"`, ...(status === 201 && { location: `/cpt/catalogue/${row.id}` }) },
});

export async function list({ db }: Needs, call: Call<typeof contract.listCatalogues>): Promise<Answer> {
  const { actor, query } = call;
  const page = pageOf(query, ORDERS, "Name", "c.id");
  const named = query.q === undefined ? sql`true` : sql`position(lower(${query.q}) in lower(c.name)) > 0`;
  const part = sql`order by ${page.order} limit ${page.limit} offset ${page.offset}`;
  const rows = await find(db.soft, actor, named, part);
  const records = rows[0]?.records ?? (await find(db.soft, actor, named)).length;
  return paged(
    rows.map((row) => view(row, actor)),
    records,
  );
}

export async function create({ db }: Needs, call: Call<typeof contract.createCatalogue>): Promise<Answer> {
  const { Name, Visibility = "private", Organisations = [] } = call.body;
  const id = randomUUID();
  await db.write(async (tx) => {
    await sql`
      insert into catalogues (id, party_id, name, visibility)
      values (${id}, ${call.actor.party.id}, ${Name}, ${Visibility})`.execute(tx);
    await setGuests(tx, id, Organisations);
  });
  return answer(await requireOwn(db.run, call.actor, id), call.actor, 201);
}

async function setGuests(tx: Tx, id: string, organizations: string[]): Promise<void> {
  const wanted = [...new Set(organizations.map((each) => each.toLowerCase()))];
  await sql`delete from catalogue_guests where catalogue_id = ${id}`.execute(tx);
  const { rows } = await sql`
    insert into catalogue_guests (catalogue_id, party_id)
    select ${id}, p.id from parties p
    where p.id = any(${wanted}::uuid[]) and p.kind = 'organization' and p.deleted_at is null returning 1`.execute(
    tx,
  );
  if (rows.length !== wanted.length) throw new Fault("organization.not-found", { field: "Organisations" });
}

export async function get({ db }: Needs, call: Call<typeof contract.getCatalogue>): Promise<Answer> {
  return answer(await requireSeen(db.run, call.actor, call.params.uuid), call.actor);
}

export async function patch({ db }: Needs, call: Call<typeof contract.patchCatalogue>): Promise<Answer> {
  const { uuid } = call.params;
  const before = await requireOwn(db.run, call.actor, uuid);
  const { Name, Visibility, Organisations } = call.body;
  await db.write(async (tx) => {
    await sql`
      update catalogues set name = ${Name ?? before.name}, visibility = ${Visibility ?? before.visibility},
        version = version + 1, updated_at = date_trunc('milliseconds', now())
      where id = ${uuid} and party_id = ${call.actor.party.id}`.execute(tx);
    if (Organisations !== undefined) await setGuests(tx, uuid, Organisations);
  });
  return answer(await requireOwn(db.run, call.actor, uuid), call.actor);
}

export async function remove({ db }: Needs, call: Call<typeof contract.deleteCatalogue>): Promise<Answer> {
  const { uuid } = call.params;
  await requireOwn(db.run, call.actor, uuid);
  await sql`delete from catalogues where id = ${uuid} and party_id = ${call.actor.party.id}`
    .execute(db.run)
    .catch((error: unknown) => {
      // A model is in it, or came at this moment.
      throw (error as { code?: string }).code === "23503"
        ? new Fault("catalogue.not-empty", { uuid })
        : error;
    });
  return { status: 200, body: { Message: "The catalogue is deleted.", UUID: uuid } };
}

/** Both are the caller's own: a catalogue shows what its owner may show. */
export async function put(deps: Needs, actor: Actor, catalogue: string, functionId: string): Promise<Answer> {
  await requireOwn(deps.db.run, actor, catalogue);
  await requireOwnFunction(deps.db.run, actor, functionId);
  await deps.db.write((tx) => placeIn(tx, actor, functionId, [catalogue]));
  return answer(await requireOwn(deps.db.run, actor, catalogue), actor);
}

export async function take(
  { db }: Needs,
  actor: Actor,
  catalogue: string,
  functionId: string,
): Promise<Answer> {
  await requireOwn(db.run, actor, catalogue);
  await sql`
    delete from catalogue_functions where catalogue_id = ${catalogue} and function_id = ${functionId}`.execute(
    db.run,
  );
  return answer(await requireOwn(db.run, actor, catalogue), actor);
}

export async function placeIn(tx: Tx, actor: Actor, functionId: string, catalogues: string[]): Promise<void> {
  const wanted = [...new Set(catalogues.map((each) => each.toLowerCase()))];
  if (wanted.length === 0) return;
  const { rows } = await sql`
    select 1 from catalogues where id = any(${wanted}::uuid[]) and party_id = ${actor.party.id}`.execute(tx);
  if (rows.length !== wanted.length) throw new Fault("catalogue.not-found", { field: "Catalogues" });
  await sql`
    insert into catalogue_functions (catalogue_id, function_id)
    select id, ${functionId} from catalogues where id = any(${wanted}::uuid[]) on conflict do nothing`.execute(
    tx,
  );
}
