// SPDX-License-Identifier: Apache-2.0
/** Keys of an account: made, shown once, renamed, ended. A key made narrower cannot make a wider one. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { createKey, deleteKey, listKeys, updateKey } from "#contract/workloads/accounts.ts";
import { addKey } from "../../core/identity/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { ownOrAny } from "./accounts.ts";
import type { Deps } from "./deps.ts";

interface KeyRow {
  id: string;
  account_id: string;
  name: string | null;
  prefix: string;
  scopes: string[];
  created_at: Date;
  expires_at: Date | null;
}

type Needs = Pick<Deps, "db">;

export async function create({ db }: Needs, call: Call<typeof createKey>): Promise<Answer> {
  const { principal, body } = call;
  const account = body.accountId ?? principal!.account?.id;
  if (account === undefined) throw new Fault("request.invalid", { detail: "accountId says whose key it is" });
  const scopes = body.scopes ?? ["workloads:*"];
  if (principal!.account !== null && !principal!.scopes.includes("workloads:*"))
    throw new Fault("identity.unauthorized");
  const made = await addKey(db.run, {
    account: ownOrAny(call, account),
    ...{ name: body.name, scopes, expiresAt: instantOf(body.expiresAt ?? null, call.now) },
  });
  if (made === null) throw new Fault("account.not-found");
  return { status: 201, body: { ...view(await requireKey(db, made.keyId)), apiKey: made.key } };
}

export async function list({ db }: Needs, call: Call<typeof listKeys>): Promise<Answer> {
  const { rows } = await sql<KeyRow>`
    select * from api_keys where account_id = ${ownOrAny(call, call.params.id)} and surface = 'workloads'
      and revoked_at is null order by created_at, id`.execute(db.soft);
  return { status: 200, body: rows.map(view) };
}

export async function update({ db }: Needs, call: Call<typeof updateKey>): Promise<Answer> {
  const { apiKeyId, name, expiresAt } = call.body;
  const key = await requireKey(db, apiKeyId, call);
  // A key that could put off its own end would have none.
  if (expiresAt !== undefined && call.principal!.keyId === key.id) throw new Fault("identity.unauthorized");
  const { rows } = await sql<KeyRow>`
    update api_keys set name = coalesce(${name ?? null}, name),
      expires_at = case when ${expiresAt !== undefined} then ${instantOf(expiresAt ?? null, call.now)}::timestamptz else expires_at end
    where id = ${key.id} returning *`.execute(db.run);
  return { status: 200, body: view(rows[0]!) };
}

export async function remove({ db }: Needs, call: Call<typeof deleteKey>): Promise<Answer> {
  const key = await requireKey(db, call.body.apiKeyId, call);
  await sql`update api_keys set revoked_at = now() where id = ${key.id}`.execute(db.run);
  return { status: 200, body: {} };
}

async function requireKey({ run }: Deps["db"], id: string, call?: Call): Promise<KeyRow> {
  const { rows } = await sql<KeyRow>`
    select * from api_keys where id = ${id} and surface = 'workloads' and revoked_at is null`.execute(run);
  const own = call?.principal?.account;
  if (rows[0] === undefined || (own && own.id !== rows[0].account_id)) throw new Fault("keys.not-found");
  return rows[0];
}

function instantOf(text: string | null, now: Date): Date | null {
  if (text === null) return null;
  const instant = new Date(text);
  if (Number.isNaN(instant.getTime()) || instant <= now)
    throw new Fault("request.invalid", { detail: "expiresAt is a time to come, ISO 8601" });
  return instant;
}

const view = (row: KeyRow) => ({
  apiKeyId: row.id,
  accountId: row.account_id,
  name: row.name ?? "",
  prefix: row.prefix,
  scopes: row.scopes,
  createdAt: row.created_at.toISOString(),
  expiresAt: row.expires_at?.toISOString() ?? null,
});
