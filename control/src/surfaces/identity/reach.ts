// SPDX-License-Identifier: Apache-2.0
/**
 * What an actor may do with a party that a path names: in their own name with any that they are somebody
 * of; acting for one, with that one, or with what it serves. What the token was narrowed to was held
 * against the operation before (http/recognise.ts); here it is what they are to this party.
 */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { type Actor, type PartyKind, type Scope, scopesOf } from "../../core/identity/index.ts";
import type { Db } from "../../database/open.ts";
import type { Page } from "../../http/paging.ts";

export interface Reached {
  id: string;
  name: string;
  account_id: string;
  version: number;
  created_at: Date;
  updated_at: Date;
  partner: { UUID: string; Name: string } | null;
  role: string | null;
  self: boolean;
  through: { level: string; role: string }[] | null;
  records: number;
}

export async function reachable(
  db: Db,
  { kind, id, party }: Actor,
  wanted: { kind: PartyKind; condition: RawBuilder<unknown> },
  page: Page | null,
): Promise<Reached[]> {
  const user = kind === "user" ? id : null;
  const within =
    party.kind === "user"
      ? sql`true`
      : party.kind === "organization"
        ? sql`o.id = ${party.id}`
        : sql`(o.id = ${party.id} or o.partner_id = ${party.id} or exists (
            select from partner_access g where g.organization_id = o.id and g.partner_id = ${party.id}))`;
  const { rows } = await sql<Reached>`
    with found as (
      select o.id, o.name, o.account_id, o.version, o.created_at, o.updated_at,
        o.id = ${party.id} and ${kind} = 'client' as self, m.role,
        (select json_build_object('UUID', p.id, 'Name', p.name) from parties p
          where p.id = o.partner_id and p.deleted_at is null) as partner,
        (select json_agg(json_build_object('level', g.level, 'role', coalesce(pm.role, 'administrator')))
          from partner_access g join parties p on p.id = g.partner_id and p.deleted_at is null
          left join members pm on pm.party_id = g.partner_id and pm.user_id = ${user}
          where g.organization_id = o.id
            and (pm.user_id is not null or (${kind} = 'client' and g.partner_id = ${party.id}))) as through
      from parties o left join members m on m.party_id = o.id and m.user_id = ${user}
      where o.kind = ${wanted.kind} and o.deleted_at is null and ${within} and ${wanted.condition}
    )
    select *, (count(*) over ())::int as records from found
    where self or role is not null or through is not null
    ${page === null ? sql`` : sql`order by ${page.order} limit ${page.limit} offset ${page.offset}`}`.execute(
    db,
  );
  return rows;
}

export const scopesIn = (kind: PartyKind, { self, role, through }: Reached): Scope[] =>
  scopesOf({ kind, self, role, through: through ?? [] });

/** Throws 404 for one that the actor is nobody of, as for one that never was; 403 for too little. */
export async function requireParty(
  db: Db,
  actor: Actor,
  wanted: { kind: PartyKind; id: string },
  scope: Scope,
): Promise<Reached> {
  const condition = sql`o.id = ${wanted.id}`;
  const [row] = await reachable(db, actor, { kind: wanted.kind, condition }, null);
  if (row === undefined) throw new Fault("organization.not-found", { uuid: wanted.id });
  if (!scopesIn(wanted.kind, row).includes(scope)) throw new Fault("identity.scope", { scope });
  return row;
}

/** Who decides about a party by their own right: its administrators and its client, nobody through a partner. */
export function requireOwn({ self, role }: Reached): void {
  if (!self && role !== "administrator")
    throw new Fault("identity.scope", { scope: "of its own administrator" });
}
