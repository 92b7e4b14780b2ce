// SPDX-License-Identifier: Apache-2.0
/** Organizations as the caller sees them: those it may act for, and by what right. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/identity/organizations.ts";
import { addMember, addParty } from "../../core/identity/index.ts";
import { append } from "../../core/journal/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { etagOf, requireVersion, shown } from "../../http/etag.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { IdentityDeps } from "./deps.ts";
import { type Reached, reachable, requireParty, scopesIn } from "./reach.ts";

type Needs = Pick<IdentityDeps, "db">;

const KIND = "organization" as const;
const ORDERS = { Name: "name", CreatedAt: "created_at", UpdatedAt: "updated_at" };

export async function list(deps: Needs, call: Call<typeof contract.listOrganizations>): Promise<Answer> {
  const page = pageOf(call.query, ORDERS, "Name", "id");
  const { q } = call.query;
  const condition = q === undefined ? sql`true` : sql`position(lower(${q}) in lower(o.name)) > 0`;
  const rows = await reachable(deps.db.soft, call.actor, { kind: KIND, condition }, page);
  const all = () => reachable(deps.db.soft, call.actor, { kind: KIND, condition }, null);
  return paged(rows.map(view), rows[0]?.records ?? (await all()).length);
}

export async function create(deps: Needs, call: Call<typeof contract.createOrganization>): Promise<Answer> {
  const { actor } = call;
  // Nobody founds one organization in the name of another.
  if (actor.party.kind === KIND) throw new Fault("identity.scope", { scope: "to found an organization" });
  const partner = actor.party.kind === "channel_partner" ? actor.party.id : null;
  const id = await deps.db.write(async (tx) => {
    const made = await addParty(tx, {
      ...{ kind: KIND, name: call.body.Name, partner, jurisdiction: call.account.jurisdiction },
    });
    if (actor.kind === "user") await addMember(tx, { party: made.id, user: actor.id, role: "administrator" });
    // A partner's own program is nobody's member: it serves what it founded as the partner's administrator.
    else
      await sql`
        insert into partner_access (organization_id, partner_id, level)
        values (${made.id}, ${partner}, 'organization_administrator')`.execute(tx);
    await append(tx, {
      ...{ account: made.accountId, type: "organization.created", subject: made.id },
      payload: { by: actor.id, name: call.body.Name },
    });
    return made.id;
  });
  // In their own name: under a partner one founds for others, and is its administrator all the same.
  const founder = {
    ...actor,
    party: actor.kind === "user" ? { ...actor.party, kind: "user" as const } : actor.party,
  };
  const condition = sql`o.id = ${id}`;
  const [row] = await reachable(deps.db.run, founder, { kind: KIND, condition }, null);
  return {
    status: 201,
    body: view(row!),
    headers: { location: `/cdb/organizations/${id}`, etag: etagOf(row!.version, view(row!)) },
  };
}

export async function get({ db }: Needs, call: Call<typeof contract.getOrganization>): Promise<Answer> {
  const wanted = { kind: KIND, id: call.params.uuid.toLowerCase() };
  const row = await requireParty(db.soft, call.actor, wanted, "organization:read");
  return shown(call.headers, row.version, view(row));
}

export async function update({ db }: Needs, call: Call<typeof contract.updateOrganization>): Promise<Answer> {
  const wanted = { kind: KIND, id: call.params.uuid.toLowerCase() };
  const row = await requireParty(db.run, call.actor, wanted, "organization:write");
  const asked = call.headers["if-match"];
  requireVersion(call.headers, row.version);
  await db.write(async (tx) => {
    const { rows } = await sql`
      update parties set name = ${call.body.Name}, version = version + 1, updated_at = date_trunc('milliseconds', now())
      where id = ${row.id} and (${asked === undefined} or version = ${row.version}) returning id`.execute(tx);
    if (rows.length === 0) throw new Fault("request.precondition");
    await append(tx, {
      ...{ account: row.account_id, type: "organization.renamed", subject: row.id },
      payload: { by: call.actor.id, name: call.body.Name },
    });
  });
  const now = await requireParty(db.run, call.actor, wanted, "organization:write");
  return { status: 200, body: view(now), headers: { etag: etagOf(now.version, view(now)) } };
}

const view = (row: Reached) => ({
  UUID: row.id,
  Name: row.name,
  ChannelPartner: row.partner,
  Role: row.role,
  Permissions: scopesIn(KIND, row),
  CreatedAt: row.created_at.toISOString(),
  UpdatedAt: row.updated_at.toISOString(),
});
