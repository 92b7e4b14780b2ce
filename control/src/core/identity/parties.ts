// SPDX-License-Identifier: Apache-2.0
/** Parties: people, organizations and partners, each with an account of its own. */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type { Db } from "../../database/open.ts";
import type { PartyKind } from "./levels.ts";

export interface PartyAsk {
  kind: PartyKind;
  name: string;
  jurisdiction: string;
  /** Of an organization: the partner it is founded under. */
  partner?: string | null;
}

/** The account's id is the party's UUID without its dashes, so that one can be read from the other. */
export const accountOf = (party: string): string => `acct_${party.replaceAll("-", "")}`;

export async function addParty(db: Db, ask: PartyAsk): Promise<{ id: string; accountId: string }> {
  const id = randomUUID();
  const accountId = accountOf(id);
  await sql`
    with account as (
      insert into accounts (id, name, jurisdiction, cycle_start)
      values (${accountId}, ${ask.name}, ${ask.jurisdiction}, date_trunc('month', now())) returning id
    )
    insert into parties (id, kind, account_id, name, partner_id)
    select ${id}, ${ask.kind}, id, ${ask.name}, ${ask.partner ?? null} from account`.execute(db);
  return { id, accountId };
}

export async function addMember(db: Db, ask: { party: string; user: string; role: string }): Promise<void> {
  await sql`insert into members (party_id, user_id, role) values (${ask.party}, ${ask.user}, ${ask.role})`.execute(
    db,
  );
}
