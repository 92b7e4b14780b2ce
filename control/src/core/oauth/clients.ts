// SPDX-License-Identifier: Apache-2.0
/**
 * OAuth clients. A secret is made here, shown once and kept as SHA-256: it carries 190 random bits. What
 * the library is given as the client's secret is that hash, and what a client shows is hashed before
 * the two are compared (provider.ts).
 */
import { sql } from "kysely";
import type { AdapterPayload } from "oidc-provider";
import type { Db } from "../../database/open.ts";
import { hashKey, makeId, makeKey } from "../identity/index.ts";

const SECRET_PREFIX = "cm_cs_";

export interface NewClient {
  clientId: string;
  /** Shown once; null: a public client has none. */
  clientSecret: string | null;
}

export interface ClientAsk {
  /** It acts for this party by itself; null: it only brings people to us. */
  party: string | null;
  name: string;
  grantTypes: readonly string[];
  redirectUris: readonly string[];
  confidential: boolean;
  /** Public clients that can keep it should be. */
  requirePkce: boolean;
  /** An app: loopback addresses and schemes of its own. */
  native?: boolean;
}

export async function addClient(db: Db, ask: ClientAsk): Promise<NewClient> {
  const clientId = makeId("oc");
  const clientSecret = ask.confidential ? makeKey(SECRET_PREFIX) : null;
  await sql`
    insert into oauth_clients (client_id, party_id, secret_hash, metadata)
    values (${clientId}, ${ask.party}, ${clientSecret === null ? null : hashKey(clientSecret)}::bytea,
      ${JSON.stringify(clientMetadata(ask))})`.execute(db);
  return { clientId, clientSecret };
}

export const clientMetadata = (ask: ClientAsk) => ({
  client_name: ask.name,
  application_type: ask.native === true ? "native" : "web",
  grant_types: ask.grantTypes,
  redirect_uris: ask.redirectUris,
  response_types: ask.redirectUris.length === 0 ? [] : ["code"],
  token_endpoint_auth_method: ask.confidential ? "client_secret_basic" : "none",
  require_pkce: ask.requirePkce,
});

/** False: there was none. Its tokens end by its row, the sign-ins of people at it with theirs. */
export async function revokeClient(db: Db, clientId: string): Promise<boolean> {
  const { rows } = await sql`
    with gone as (
      update oauth_clients set revoked_at = now() where client_id = ${clientId} and revoked_at is null
      returning client_id
    ), ended as (
      delete from sign_ins s using gone where s.client_id = gone.client_id returning s.sid
    ), records as (
      delete from oauth_records r using ended where r.grant_id = ended.sid
    )
    select client_id from gone`.execute(db);
  return rows.length > 0;
}

export const secretAsKept = (secret: string): string => hashKey(secret).toString("hex");

/** As the library reads it. */
export async function findClient(db: Db, clientId: string): Promise<AdapterPayload | undefined> {
  const { rows } = await sql<{ secret: string | null; metadata: Record<string, unknown> }>`
    select encode(secret_hash, 'hex') as secret, metadata from oauth_clients c
    left join parties p on p.id = c.party_id
    where client_id = ${clientId} and revoked_at is null and p.deleted_at is null`.execute(db);
  const row = rows[0];
  if (row === undefined) return undefined;
  return {
    client_id: clientId,
    ...row.metadata,
    ...(row.secret === null ? {} : { client_secret: row.secret }),
  } as AdapterPayload;
}
