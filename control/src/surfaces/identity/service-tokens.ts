// SPDX-License-Identifier: Apache-2.0
/** Service tokens of whom the caller acts for. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/identity/service-tokens.ts";
import {
  type Actor,
  addServiceToken,
  revokeServiceToken,
  type ServiceTokenRow,
} from "../../core/identity/index.ts";
import { append } from "../../core/journal/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { IdentityDeps } from "./deps.ts";

type Needs = Pick<IdentityDeps, "db">;

const LIFETIME_S = 7_776_000;
const ORDERS = { Name: "name", CreatedAt: "created_at", ExpiresAt: "expires_at" };

/** A token that was stolen must not outlive itself by making others. */
function requireNoService({ service }: Actor): void {
  if (service) throw new Fault("identity.scope", { scope: "that no service token has" });
}

export async function create({ db }: Needs, call: Call<typeof contract.createToken>): Promise<Answer> {
  const { actor, body } = call;
  requireNoService(actor);
  const beyond = body.Permissions.find((scope) => !actor.scopes.includes(scope));
  if (beyond !== undefined) throw new Fault("identity.scope", { scope: beyond });
  const { row, token } = await db.write(async (tx) => {
    const made = await addServiceToken(tx, actor, {
      ...{ name: body.Name, scopes: body.Permissions, lifetimeS: body.LifetimeSeconds ?? LIFETIME_S },
    });
    const payload = { by: actor.id, name: body.Name, permissions: body.Permissions };
    const entry = { account: call.account.id, type: "service_token.created", subject: made.row.id };
    await append(tx, { ...entry, payload });
    return made;
  });
  return { status: 201, body: { ...view(row), Token: token } };
}

export async function list({ db }: Needs, call: Call<typeof contract.listTokens>): Promise<Answer> {
  const page = pageOf(call.query, ORDERS, "-CreatedAt", "id");
  const standing = sql`
    select id, name, prefix, scopes, created_at, expires_at from service_tokens
    where party_id = ${call.actor.party.id} and revoked_at is null and expires_at > now()`;
  const { rows } = await sql<ServiceTokenRow & { records: number }>`
    select *, (count(*) over ())::int as records from (${standing}) t
    order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(db.soft);
  const all = async () => (await sql`${standing}`.execute(db.soft)).rows.length;
  return paged(rows.map(view), rows[0]?.records ?? (await all()));
}

export async function revoke({ db }: Needs, call: Call<typeof contract.revokeToken>): Promise<Answer> {
  requireNoService(call.actor);
  const own = !call.actor.scopes.includes("organization:write");
  const id = call.params.uuid.toLowerCase();
  await db.write(async (tx) => {
    const name = await revokeServiceToken(tx, call.actor, id, own);
    if (name === null) throw new Fault("token.not-found", { uuid: call.params.uuid });
    const payload = { by: call.actor.id, name };
    await append(tx, { account: call.account.id, type: "service_token.revoked", subject: id, payload });
  });
  return { status: 204 };
}

const view = (row: ServiceTokenRow) => ({
  ...{ UUID: row.id, Name: row.name, Prefix: row.prefix, Permissions: row.scopes },
  CreatedAt: row.created_at.toISOString(),
  ExpiresAt: row.expires_at.toISOString(),
});
