// SPDX-License-Identifier: Apache-2.0
/**
 * The operator's key. Whoever starts the server makes it and hands control only its SHA-256, so a
 * thief of control's memory or database never holds the key itself. A changed hash replaces the old.
 */
import { sql } from "kysely";
import type { Db } from "../../database/open.ts";
import { makeId } from "./keys.ts";

export async function installOperatorKey(db: Db, hash: Buffer, prefix: string): Promise<void> {
  await sql`
    with gone as (
      update api_keys set revoked_at = now()
      where account_id is null and surface = 'platform' and revoked_at is null and hash <> ${hash}
    )
    insert into api_keys (id, account_id, surface, prefix, hash, scopes)
    values (${makeId("key")}, null, 'platform', ${prefix}, ${hash}, array['*'])
    on conflict (hash) do update set revoked_at = null`.execute(db);
}
