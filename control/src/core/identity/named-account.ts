// SPDX-License-Identifier: Apache-2.0
/** Accounts that the operator opens under a name, and further keys of theirs. */
import { sql } from "kysely";
import type { Db } from "../../database/open.ts";
import {
  hashKey,
  INSTANCES_PREFIX,
  makeId,
  makeInstancesKey,
  makeKey,
  shownPrefix,
  WORKLOADS_PREFIX,
} from "./keys.ts";
import type { NewAccount } from "./signup.ts";

export interface NamedAccount {
  name: string;
  jurisdiction: string;
  walletAddress: string | null;
}

export async function openNamedAccount(db: Db, ask: NamedAccount): Promise<NewAccount> {
  const accountId = makeId("acct");
  await sql`
    insert into accounts (id, name, jurisdiction, wallet_address, cycle_start)
    values (${accountId}, ${ask.name}, ${ask.jurisdiction}, ${ask.walletAddress}, date_trunc('month', now()))`.execute(
    db,
  );
  const made = await addKey(db, {
    ...{ account: accountId, name: "first", scopes: ["workloads:*"], expiresAt: null },
  });
  return { accountId, key: made!.key };
}

export interface KeyAsk {
  account: string;
  /** Workloads unless said. */
  surface?: "workloads" | "instances";
  name: string;
  scopes: string[];
  expiresAt: Date | null;
}

/** Null when there is no such account. The key is shown once. */
export async function addKey(db: Db, ask: KeyAsk): Promise<{ keyId: string; key: string } | null> {
  const { surface = "workloads" } = ask;
  const [key, prefix] =
    surface === "instances"
      ? [makeInstancesKey(), INSTANCES_PREFIX]
      : [makeKey(WORKLOADS_PREFIX), WORKLOADS_PREFIX];
  const keyId = makeId("key");
  const { rows } = await sql`
    insert into api_keys (id, account_id, surface, prefix, hash, scopes, name, expires_at)
    select ${keyId}, id, ${surface}, ${shownPrefix(key, prefix)}, ${hashKey(key)}, ${ask.scopes}::text[],
      ${ask.name}, ${ask.expiresAt}::timestamptz
    from accounts where id = ${ask.account} returning id`.execute(db);
  return rows.length === 0 ? null : { keyId, key };
}
