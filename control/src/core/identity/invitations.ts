// SPDX-License-Identifier: Apache-2.0
/**
 * Invitations: a word that makes whoever shows it a member, once. We send no mail, so who invites hands it
 * over; the address it is meant for is for people who read the list, and proves nothing.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Db } from "../../database/open.ts";
import { hashKey } from "./keys.ts";

/** Makes the user a member; throws when the word is used, too old, or its party is gone. Never takes a role away. */
export async function acceptInvitation(db: Db, token: string, user: string): Promise<{ party: string }> {
  const { rows } = await sql<{ party_id: string }>`
    with taken as (
      update member_invitations i set accepted_at = now() from parties p
      where i.token_hash = ${hashKey(token)} and i.accepted_at is null and i.expires_at > now()
        and p.id = i.party_id and p.deleted_at is null
      returning i.party_id, i.role
    ), added as (
      insert into members (party_id, user_id, role) select party_id, ${user}, role from taken
      on conflict do nothing
    )
    select party_id from taken`.execute(db);
  if (rows[0] === undefined) throw new Fault("identity.invitation");
  return { party: rows[0].party_id };
}
