// SPDX-License-Identifier: Apache-2.0
/**
 * Invitations: a word that makes whoever shows it a member, once. We send no mail, so who invites hands it
 * over; the address it is meant for is for people who read the list, and proves nothing.
 */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Db } from "../../database/open.ts";
import { hashKey, makeKey } from "./keys.ts";

const PREFIX = "cm_inv_";
const LIFETIME_S = 7 * 86_400;

export interface InvitationAsk {
  party: string;
  email: string;
  role: string;
}

export interface NewInvitation {
  id: string;
  /** Shown once. */
  token: string;
  expiresAt: Date;
}

export async function inviteMember(db: Db, { party, email, role }: InvitationAsk): Promise<NewInvitation> {
  const token = makeKey(PREFIX);
  const id = randomUUID();
  const { rows } = await sql<{ expires_at: Date }>`
    insert into member_invitations (id, party_id, email, role, token_hash, expires_at)
    values (${id}, ${party}, ${email}, ${role}, ${hashKey(token)}, now() + make_interval(secs => ${LIFETIME_S}))
    returning expires_at`.execute(db);
  return { id, token, expiresAt: rows[0]!.expires_at };
}

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
