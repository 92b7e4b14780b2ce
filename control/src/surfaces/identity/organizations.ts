// SPDX-License-Identifier: Apache-2.0
/** Organizations as the caller sees them: those it may act for, and by what right. */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { createOrganization, listOrganizations } from "#contract/identity/organizations.ts";
import { type Actor, addMember, addParty, scopesOf } from "../../core/identity/index.ts";
import { append } from "../../core/journal/index.ts";
import type { Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { IdentityDeps } from "./deps.ts";

type Needs = Pick<IdentityDeps, "db">;

interface Row {
  id: string;
  name: string;
  created_at: Date;
  updated_at: Date;
  partner: { UUID: string; Name: string } | null;
  role: string | null;
  self: boolean;
  through: { level: string; role: string }[] | null;
  records: number;
}

const ORDERS = { Name: "name", CreatedAt: "created_at", UpdatedAt: "updated_at" };

export async function list(deps: Needs, call: Call<typeof listOrganizations>): Promise<Answer> {
  const page = pageOf(call.query, ORDERS, "Name", "id");
  const { q } = call.query;
  const named = q === undefined ? sql`true` : sql`position(lower(${q}) in lower(o.name)) > 0`;
  const rows = await reachable(deps.db.soft, call.actor, named, page);
  const records = rows[0]?.records ?? (await reachable(deps.db.soft, call.actor, named, null)).length;
  return paged(rows.map(view), records);
}

export async function create(deps: Needs, call: Call<typeof createOrganization>): Promise<Answer> {
  const { actor } = call;
  // Nobody founds one organization in the name of another.
  if (actor.party.kind === "organization")
    throw new Fault("identity.scope", { scope: "to found an organization" });
  const partner = actor.party.kind === "channel_partner" ? actor.party.id : null;
  const id = await deps.db.write(async (tx) => {
    const made = await addParty(tx, {
      ...{ kind: "organization", name: call.body.Name, partner, jurisdiction: call.account.jurisdiction },
    });
    if (actor.kind === "user") await addMember(tx, { party: made.id, user: actor.id, role: "administrator" });
    await append(tx, {
      ...{ account: made.accountId, type: "organization.created", subject: made.id },
      payload: { by: actor.id, name: call.body.Name },
    });
    return made.id;
  });
  const [row] = await reachable(deps.db.run, actor, sql`o.id = ${id}`, null);
  const location = `/cdb/organizations/${id}`;
  return { status: 201, body: view(row!), headers: { location } };
}

/** Those that the actor may act for: as their member, as a partner's, as the client that was made for one. */
async function reachable(
  db: Db,
  { kind, id, party }: Actor,
  condition: RawBuilder<unknown>,
  page: ReturnType<typeof pageOf> | null,
): Promise<Row[]> {
  const user = kind === "user" ? id : null;
  // Acting for an organization or a partner one sees that one, or that one's; in one's own name, all.
  const within =
    party.kind === "user"
      ? sql`true`
      : party.kind === "organization"
        ? sql`o.id = ${party.id}`
        : sql`(o.partner_id = ${party.id} or exists (
            select from partner_access g where g.organization_id = o.id and g.partner_id = ${party.id}))`;
  const { rows } = await sql<Row>`
    with found as (
      select o.id, o.name, o.created_at, o.updated_at, o.id = ${party.id} and ${kind} = 'client' as self, m.role,
        (select json_build_object('UUID', p.id, 'Name', p.name) from parties p
          where p.id = o.partner_id and p.deleted_at is null) as partner,
        (select json_agg(json_build_object('level', g.level, 'role', coalesce(pm.role, 'administrator')))
          from partner_access g join parties p on p.id = g.partner_id and p.deleted_at is null
          left join members pm on pm.party_id = g.partner_id and pm.user_id = ${user}
          where g.organization_id = o.id
            and (pm.user_id is not null or (${kind} = 'client' and g.partner_id = ${party.id}))) as through
      from parties o left join members m on m.party_id = o.id and m.user_id = ${user}
      where o.kind = 'organization' and o.deleted_at is null and ${within} and ${condition}
    )
    select *, (count(*) over ())::int as records from found
    where self or role is not null or through is not null
    ${page === null ? sql`` : sql`order by ${page.order} limit ${page.limit} offset ${page.offset}`}`.execute(
    db,
  );
  return rows;
}

const view = (row: Row) => ({
  UUID: row.id,
  Name: row.name,
  ChannelPartner: row.partner,
  Role: row.role,
  Permissions: scopesOf({
    ...{ kind: "organization", self: row.self, role: row.role, through: row.through ?? [] },
  }),
  CreatedAt: row.created_at.toISOString(),
  UpdatedAt: row.updated_at.toISOString(),
});
