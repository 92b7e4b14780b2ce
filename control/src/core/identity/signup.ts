// SPDX-License-Identifier: Apache-2.0
/** A new account with one key, in one statement; the mailbox is the account's only natural key. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Db } from "../../database/open.ts";
import { hashKey, makeId, makeKey, SESSIONS_PREFIX, shownPrefix } from "./keys.ts";

export interface NewAccount {
  accountId: string;
  /** Shown once. */
  key: string;
}

export async function openAccount(db: Db, ask: { email: string; jurisdiction: string }): Promise<NewAccount> {
  const email = normaliseEmail(ask.email);
  if (email === null) throw new Fault("request.invalid", { detail: "email must be a valid email address" });
  const accountId = makeId("acct");
  const key = makeKey(SESSIONS_PREFIX);
  const { numAffectedRows } = await sql`
    with account as (
      insert into accounts (id, email, jurisdiction, cycle_start)
      values (${accountId}, ${email}, ${ask.jurisdiction}, date_trunc('month', now()))
      on conflict do nothing returning id
    )
    insert into api_keys (id, account_id, surface, prefix, hash, scopes)
    select ${makeId("key")}, id, 'sessions', ${shownPrefix(key, SESSIONS_PREFIX)}, ${hashKey(key)}, array['sessions:*']
    from account`.execute(db);
  if (numAffectedRows !== 1n) throw new Fault("identity.email-taken");
  return { accountId, key };
}

/**
 * RFC 5321 mailbox, the dot-atom form people have: local part ≤ 64, domain ≤ 255, all ≤ 254 bytes.
 * Quoted local parts and address literals are refused; nobody signs up with one and parsers disagree on them.
 */
export function normaliseEmail(text: string): string | null {
  const trimmed = text.trim();
  const at = trimmed.lastIndexOf("@");
  if (at < 1 || Buffer.byteLength(trimmed) > 254) return null;
  const local = trimmed.slice(0, at);
  const domain = trimmed.slice(at + 1).toLowerCase();
  if (local.length > 64 || domain.length > 255) return null;
  if (!/^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/.test(local)) return null;
  if (!/^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/.test(domain)) return null;
  return `${local}@${domain}`;
}
