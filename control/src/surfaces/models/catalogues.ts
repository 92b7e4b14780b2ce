// SPDX-License-Identifier: Apache-2.0
/** Catalogues: made, shown to others, filled and emptied. */
import { randomUUID } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/models/catalogues.ts";
import type { Actor } from "../../core/identity/index.ts";
import { append } from "../../core/journal/index.ts";
import { catalogueSeen, functionSeen } from "../../core/models/index.ts";
import type { Db, Tx } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { etagOf, requireVersion, shown } from "../../http/etag.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { ModelsDeps } from "./deps.ts";
import { requireOwn as requireOwnFunction } from "./rows.ts";

type Needs = Pick<ModelsDeps, "db">;

/** Of one catalogue; a list pages through all. */
const FUNCTIONS_MAX = 1000;

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

function answer(row: Row, actor: Actor, status = 200): Answer {
  const body = view(row, actor);
  const location = status === 201 ? { location: `/cpt/catalogue/${row.id}` } : {};
  return { status, body, headers: { etag: etagOf(row.version, body), ...location } };
}

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
    await tell(tx, call, id, "created", { name: Name, visibility: Visibility });
  });
  return answer(await requireOwn(db.run, call.actor, id), call.actor, 201);
}

/** Who acts, and whose journal it is told to. */
type Teller = Pick<Call, "actor" | "account">;

async function tell(tx: Tx, { actor, account }: Teller, id: string, what: string, facts: object = {}) {
  const entry = { account: account.id, type: `catalogue.${what}`, subject: id.toLowerCase() };
  await append(tx, { ...entry, payload: { by: actor.id, ...facts } });
}

async function setGuests(tx: Tx, id: string, organizations: string[]): Promise<void> {
  const wanted = lowered(organizations);
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
  const row = await requireSeen(db.run, call.actor, call.params.uuid);
  const { rows: Functions } = await sql<{ UUID: string; Name: string; Status: string }>`
    select f.id as "UUID", f.name as "Name", f.status as "Status"
    from catalogue_functions cf join functions f on f.id = cf.function_id
    where cf.catalogue_id = ${row.id} and ${functionSeen(call.actor)}
    order by f.name, f.id limit ${FUNCTIONS_MAX}`.execute(db.run);
  return shown(call.headers, row.version, { ...view(row, call.actor), Functions });
}

export async function patch({ db }: Needs, call: Call<typeof contract.patchCatalogue>): Promise<Answer> {
  const { uuid } = call.params;
  await requireOwn(db.run, call.actor, uuid);
  const { Name, Visibility, Organisations } = call.body;
  await db.write(async (tx) => {
    await sql`select from catalogues where id = ${uuid} for update`.execute(tx);
    const before = await requireOwn(tx, call.actor, uuid);
    requireVersion(call.headers, before.version);
    await sql`
      update catalogues set name = ${Name ?? before.name}, visibility = ${Visibility ?? before.visibility},
        version = version + 1, updated_at = date_trunc('milliseconds', now())
      where id = ${uuid} and party_id = ${call.actor.party.id}`.execute(tx);
    if (Organisations !== undefined) await setGuests(tx, uuid, Organisations);
    const facts = {
      changed: Object.keys(call.body),
      ...(Name !== undefined && { name: Name }),
      ...(Visibility !== undefined && { visibility: Visibility }),
    };
    await tell(tx, call, uuid, "changed", facts);
  });
  return answer(await requireOwn(db.run, call.actor, uuid), call.actor);
}

export async function remove({ db }: Needs, call: Call<typeof contract.deleteCatalogue>): Promise<Answer> {
  const { uuid } = call.params;
  await requireOwn(db.run, call.actor, uuid);
  await db
    .write(async (tx) => {
      const { rows } = await sql`
        delete from catalogues where id = ${uuid} and party_id = ${call.actor.party.id} returning id`.execute(
        tx,
      );
      if (rows.length > 0) await tell(tx, call, uuid, "deleted");
    })
    .catch((error: unknown) => {
      // A model is in it, or came at this moment.
      throw (error as { code?: string }).code === "23503"
        ? new Fault("catalogue.not-empty", { uuid })
        : error;
    });
  return { status: 200, body: { Message: "The catalogue is deleted.", UUID: uuid } };
}

/** Both are the caller's own: a catalogue shows what its owner may show. */
export async function put(deps: Needs, call: Teller, catalogue: string, functionId: string): Promise<Answer> {
  const { actor } = call;
  await requireOwn(deps.db.run, actor, catalogue);
  await requireOwnFunction(deps.db.run, actor, functionId);
  await deps.db.write((tx) => placeIn(tx, call, functionId, [catalogue]));
  return answer(await requireOwn(deps.db.run, actor, catalogue), actor);
}

export async function take(
  { db }: Needs,
  call: Teller,
  catalogue: string,
  functionId: string,
): Promise<Answer> {
  const { actor } = call;
  await requireOwn(db.run, actor, catalogue);
  await db.write((tx) => takeOut(tx, call, functionId, sql`c.id = ${catalogue}`));
  return answer(await requireOwn(db.run, actor, catalogue), actor);
}

/** Late in the transaction: it takes the account's lock. */
export async function placeIn(
  tx: Tx,
  call: Teller,
  functionId: string,
  catalogues: readonly string[],
): Promise<void> {
  const wanted = lowered(catalogues);
  if (wanted.length === 0) return;
  const party = call.actor.party.id;
  const { rows } = await sql`
    select 1 from catalogues where id = any(${wanted}::uuid[]) and party_id = ${party}`.execute(tx);
  if (rows.length !== wanted.length) throw new Fault("catalogue.not-found", { field: "Catalogues" });
  const { rows: added } = await sql<{ catalogue_id: string }>`
    insert into catalogue_functions (catalogue_id, function_id)
    select id, ${functionId} from catalogues where id = any(${wanted}::uuid[]) order by id
    on conflict do nothing returning catalogue_id`.execute(tx);
  const model = functionId.toLowerCase();
  for (const { catalogue_id: id } of added) await tell(tx, call, id, "model_added", { model });
}

/** Out of all of one's own but these, and into these. */
export async function placeOnlyIn(
  tx: Tx,
  call: Teller,
  functionId: string,
  catalogues: readonly string[],
): Promise<void> {
  await takeOut(tx, call, functionId, sql`c.id <> all(${lowered(catalogues)}::uuid[])`);
  await placeIn(tx, call, functionId, catalogues);
}

async function takeOut(tx: Tx, call: Teller, functionId: string, which: RawBuilder<unknown>): Promise<void> {
  const { rows } = await sql<{ catalogue_id: string }>`
    delete from catalogue_functions cf using catalogues c
    where cf.function_id = ${functionId} and c.id = cf.catalogue_id and c.party_id = ${call.actor.party.id} and ${which}
    returning cf.catalogue_id`.execute(tx);
  const model = functionId.toLowerCase();
  for (const { catalogue_id: id } of rows) await tell(tx, call, id, "model_removed", { model });
}

const lowered = (ids: readonly string[]) => [...new Set(ids.map((each) => each.toLowerCase()))];
