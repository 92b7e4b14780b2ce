// SPDX-License-Identifier: Apache-2.0
/** Channel partners, and what organizations let them do. Only the organization's own people decide that. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/identity/partners.ts";
import { append } from "../../core/journal/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { IdentityDeps } from "./deps.ts";
import { reachable, requireOwn, requireParty } from "./reach.ts";

type Needs = Pick<IdentityDeps, "db">;

const ORDERS = { Name: "name", CreatedAt: "created_at" };

interface Row {
  id: string;
  name: string;
  level: string;
  created_at: Date;
  records: number;
}

export async function list({ db }: Needs, call: Call<typeof contract.listPartners>): Promise<Answer> {
  const page = pageOf(call.query, ORDERS, "Name", "id");
  const wanted = { kind: "channel_partner", condition: sql`true` } as const;
  const rows = await reachable(db.soft, call.actor, wanted, page);
  const records = rows[0]?.records ?? (await reachable(db.soft, call.actor, wanted, null)).length;
  return paged(
    rows.map((row) => ({
      UUID: row.id,
      Name: row.name,
      Role: row.role,
      CreatedAt: row.created_at.toISOString(),
    })),
    records,
  );
}

const granted = (organization: string) => sql`
  select p.id, p.name, g.level, g.created_at from partner_access g
  join parties p on p.id = g.partner_id and p.deleted_at is null where g.organization_id = ${organization}`;

const organizationOf = ({ params }: { params: { uuid: string } }) => ({
  ...{ kind: "organization" as const, id: params.uuid.toLowerCase() },
});

export async function listAccess({ db }: Needs, call: Call<typeof contract.listAccess>): Promise<Answer> {
  const { id } = await requireParty(db.soft, call.actor, organizationOf(call), "organization:read");
  const page = pageOf(call.query, ORDERS, "Name", "id");
  const { rows } = await sql<Row>`
    select *, (count(*) over ())::int as records from (${granted(id)}) g
    order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(db.soft);
  const all = async () => (await sql`${granted(id)}`.execute(db.soft)).rows.length;
  return paged(rows.map(view), rows[0]?.records ?? (await all()));
}

export async function grant({ db }: Needs, call: Call<typeof contract.grantAccess>): Promise<Answer> {
  const organization = await requireParty(db.run, call.actor, organizationOf(call), "organization:write");
  requireOwn(organization);
  const partner = call.params.partner.toLowerCase();
  await db.write(async (tx) => {
    const { rows } = await sql`
      insert into partner_access (organization_id, partner_id, level)
      select ${organization.id}, id, ${call.body.AccessLevel} from parties
      where id = ${partner} and kind = 'channel_partner' and deleted_at is null
      on conflict (organization_id, partner_id) do update set level = excluded.level
      returning partner_id`.execute(tx);
    if (rows.length === 0) throw new Fault("partner.not-found", { uuid: partner });
    await append(tx, {
      ...{ account: organization.account_id, type: "partner.granted", subject: organization.id },
      payload: { by: call.actor.id, partner, level: call.body.AccessLevel },
    });
  });
  const { rows } = await sql<Row>`${granted(organization.id)} and p.id = ${partner}`.execute(db.run);
  return { status: 200, body: view(rows[0]!) };
}

export async function revoke({ db }: Needs, call: Call<typeof contract.revokeAccess>): Promise<Answer> {
  const organization = await requireParty(db.run, call.actor, organizationOf(call), "organization:write");
  requireOwn(organization);
  const partner = call.params.partner.toLowerCase();
  await db.write(async (tx) => {
    const { rows } = await sql`
      delete from partner_access where organization_id = ${organization.id} and partner_id = ${partner}
      returning partner_id`.execute(tx);
    if (rows.length === 0) throw new Fault("partner.not-found", { uuid: partner });
    await append(tx, {
      ...{ account: organization.account_id, type: "partner.revoked", subject: organization.id },
      payload: { by: call.actor.id, partner },
    });
  });
  return { status: 204 };
}

const view = (row: Row) => ({
  ...{ UUID: row.id, Name: row.name, AccessLevel: row.level },
  CreatedAt: row.created_at.toISOString(),
});
