// SPDX-License-Identifier: Apache-2.0
/**
 * Service tokens act for one party, as whoever made them and narrowed: who loses a place there, or is
 * deleted, takes them along. Random and looked up as SHA-256, like keys.
 */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type { Db, Tx } from "../../database/open.ts";
import type { Actor, Bearer } from "./act-as.ts";
import { hashKey, makeKey, shownPrefix } from "./keys.ts";

const PREFIX = "cm_st_";
const FORM = /^cm_st_[0-9A-Za-z]{32}$/;

/** Null: not a service token by its form. Whether it is one, `act` finds out. */
export const readServiceToken = (given: string): Bearer | null =>
  FORM.test(given) ? { kind: "service", hash: hashKey(given) } : null;

export interface ServiceTokenRow {
  id: string;
  name: string;
  prefix: string;
  scopes: string[];
  created_at: Date;
  expires_at: Date;
}

export async function addServiceToken(
  db: Db | Tx,
  actor: Actor,
  ask: { name: string; scopes: readonly string[]; lifetimeS: number },
): Promise<{ row: ServiceTokenRow; token: string }> {
  const token = makeKey(PREFIX);
  const { rows } = await sql<ServiceTokenRow>`
    insert into service_tokens (id, party_id, name, prefix, hash, scopes, created_by, expires_at)
    values (${randomUUID()}, ${actor.party.id}, ${ask.name}, ${shownPrefix(token, PREFIX)}, ${hashKey(token)},
      ${ask.scopes}::text[], ${makerOf(actor)}, now() + make_interval(secs => ${ask.lifetimeS}))
    returning id, name, prefix, scopes, created_at, expires_at`.execute(db);
  return { row: rows[0]!, token };
}

/** Ends one of the party's; `own`: only if the actor made it. Its name; null: there is none such. */
export async function revokeServiceToken(
  db: Db | Tx,
  actor: Actor,
  id: string,
  own: boolean,
): Promise<string | null> {
  const mine = own ? sql`created_by = ${makerOf(actor)}` : sql`true`;
  const { rows } = await sql<{ name: string }>`
    update service_tokens set revoked_at = now()
    where id = ${id} and party_id = ${actor.party.id} and revoked_at is null and ${mine} returning name`.execute(
    db,
  );
  return rows[0]?.name ?? null;
}

const makerOf = ({ kind, id }: Actor): string => `${kind}:${id}`;
