// SPDX-License-Identifier: Apache-2.0
/**
 * Where accounts want to be told. Another account's endpoint is indistinguishable from a missing one.
 *
 *  A. Rows are locked in the order cursor, endpoint, delivery, and the account (journal) last. Whoever makes
 *     or deletes an endpoint holds the account's cursor, so that there is one exactly while there are
 *     endpoints, and never more of these than allowed.
 *  B. Address and secrets are sealed under the endpoint's id, the secrets also under their number.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Database, Db, Tx } from "../../database/open.ts";
import { makeId } from "../identity/index.ts";
import type { Vault } from "../vault/index.ts";
import { makeSecret } from "./secret.ts";

export interface EndpointRow {
  id: string;
  account_id: string;
  url_sealed: Buffer;
  events: string[];
  description: string;
  secret_number: number;
  secret_sealed: Buffer;
  previous_sealed: Buffer | null;
  previous_until: Date | null;
  disabled_at: Date | null;
  disabled_reason: "asked" | "gone" | "failing" | "backlog" | null;
  failing_since: Date | null;
  version: number;
  created_at: Date;
  updated_at: Date;
}

/** Says the account whose endpoints changed. */
export const ENDPOINTS_CHANNEL = "casemate_webhooks";
const PREVIOUS_VALID = sql`interval '24 hours'`;
const ID = /^whk_[0-9a-f]{32}$/;

const urlIdentity = (id: string) => `webhook_endpoints/${id}/url`;
const secretIdentity = (id: string, number: number) => `webhook_endpoints/${id}/secret/${number}`;

export const openUrl = async (vault: Vault, row: Pick<EndpointRow, "id" | "url_sealed">): Promise<string> =>
  (await vault.open(urlIdentity(row.id), row.url_sealed)).toString();

type WithSecrets = Pick<EndpointRow, "id" | "secret_number" | "secret_sealed" | "previous_sealed">;

/** Those that sign now, the newest first. */
export async function openSecrets(vault: Vault, row: WithSecrets): Promise<string[]> {
  const { id, secret_number: number } = row;
  const secrets = [await vault.open(secretIdentity(id, number), row.secret_sealed)];
  if (row.previous_sealed !== null)
    secrets.push(await vault.open(secretIdentity(id, number - 1), row.previous_sealed));
  return secrets.map((secret) => secret.toString());
}

export interface NewEndpoint {
  account: string;
  url: string;
  events: string[];
  description: string;
}

export async function createEndpoint(
  { db, vault }: { db: Database; vault: Vault },
  ask: NewEndpoint,
  endpointsMax: number,
): Promise<{ row: EndpointRow; secret: string }> {
  const id = makeId("whk");
  const secret = makeSecret();
  const [urlSealed, secretSealed] = await Promise.all([
    vault.seal(urlIdentity(id), Buffer.from(ask.url)),
    vault.seal(secretIdentity(id, 1), Buffer.from(secret)),
  ]);
  // Entries whose numbers are given but not committed are later than this, and will be sent.
  const newest = sql`(select journal_seq from accounts where id = ${ask.account})`;
  const row = await db.write(async (tx) => {
    await sql`
      insert into webhook_cursors (account_id, seq) values (${ask.account}, ${newest})
      on conflict (account_id) do update set seq = webhook_cursors.seq`.execute(tx);
    const { rows: made } = await sql<EndpointRow>`
      insert into webhook_endpoints (id, account_id, url_sealed, events, description, secret_sealed, from_seq)
      select ${id}, ${ask.account}, ${urlSealed}::bytea, ${ask.events}::text[], ${ask.description}, ${secretSealed}::bytea, ${newest}
      where (select count(*) from webhook_endpoints where account_id = ${ask.account}) < ${endpointsMax}
      returning *`.execute(tx);
    if (made[0] === undefined) throw new Fault("webhook.limit", { most: endpointsMax });
    await sql`select pg_notify(${ENDPOINTS_CHANNEL}, ${ask.account})`.execute(tx);
    return made[0];
  });
  return { row, secret };
}

export async function listEndpoints(db: Db | Tx, account: string): Promise<EndpointRow[]> {
  const { rows } = await sql<EndpointRow>`
    select * from webhook_endpoints where account_id = ${account} order by created_at, id`.execute(db);
  return rows;
}

export async function requireEndpoint(db: Db | Tx, account: string, id: string): Promise<EndpointRow> {
  const { rows } = await sql<EndpointRow>`
    select * from webhook_endpoints where id = ${ID.test(id) ? id : ""} and account_id = ${account}`.execute(
    db,
  );
  if (rows[0] === undefined) throw new Fault("webhook.not-found");
  return rows[0];
}

export interface EndpointChange {
  url?: string;
  events?: string[];
  description?: string;
  disabled?: boolean;
}

export async function updateEndpoint(
  { db, vault }: { db: Database; vault: Vault },
  row: EndpointRow,
  { url, events, description, disabled }: EndpointChange,
): Promise<EndpointRow> {
  const sealed = url === undefined ? null : await vault.seal(urlIdentity(row.id), Buffer.from(url));
  return db.write(async (tx) => {
    if (disabled === true) await disableEndpoint(tx, row, "asked");
    // Whoever enables it again begins with a clean record.
    const on = disabled === false;
    const { rows } = await sql<EndpointRow>`
      update webhook_endpoints set
        url_sealed = coalesce(${sealed}::bytea, url_sealed),
        events = coalesce(${events ?? null}::text[], events),
        description = coalesce(${description ?? null}, description),
        disabled_at = case when ${on} then null else disabled_at end,
        disabled_reason = case when ${on} then null else disabled_reason end,
        failing_since = case when ${on} then null else failing_since end,
        version = version + 1, updated_at = now()
      where id = ${row.id} and account_id = ${row.account_id} returning *`.execute(tx);
    if (rows[0] === undefined) throw new Fault("webhook.not-found");
    return rows[0];
  });
}

/** True when it was not disabled before. What was still to be sent there has failed. */
export async function disableEndpoint(
  tx: Tx,
  { id }: Pick<EndpointRow, "id">,
  reason: NonNullable<EndpointRow["disabled_reason"]>,
): Promise<boolean> {
  const { numAffectedRows } = await sql`
    update webhook_endpoints set disabled_at = now(), disabled_reason = ${reason}, version = version + 1, updated_at = now()
    where id = ${id} and disabled_at is null`.execute(tx);
  await sql`
    update webhook_deliveries set state = 'failed', next_at = null
    where endpoint_id = ${id} and state = 'pending'`.execute(tx);
  return numAffectedRows === 1n;
}

export async function rotateSecret(
  { db, vault }: { db: Database; vault: Vault },
  row: EndpointRow,
): Promise<{ secret: string; previousUntil: Date }> {
  const secret = makeSecret();
  const number = row.secret_number + 1;
  const sealed = await vault.seal(secretIdentity(row.id, number), Buffer.from(secret));
  const { rows } = await sql<{ previous_until: Date }>`
    update webhook_endpoints set previous_sealed = secret_sealed, previous_until = now() + ${PREVIOUS_VALID},
      secret_sealed = ${sealed}::bytea, secret_number = ${number}, version = version + 1, updated_at = now()
    where id = ${row.id} and account_id = ${row.account_id} and secret_number = ${row.secret_number}
    returning previous_until`.execute(db.run);
  // Two at once: the other one's secret is the new one, and was shown to somebody.
  if (rows[0] === undefined) throw new Fault("webhook.changed");
  return { secret, previousUntil: rows[0].previous_until };
}

export async function deleteEndpoint(db: Database, account: string, id: string): Promise<void> {
  await db.write(async (tx) => {
    await sql`select from webhook_cursors where account_id = ${account} for update`.execute(tx);
    const { rows } = await sql`
      delete from webhook_endpoints where id = ${ID.test(id) ? id : ""} and account_id = ${account} returning id`.execute(
      tx,
    );
    if (rows.length === 0) throw new Fault("webhook.not-found");
    await sql`
      delete from webhook_cursors where account_id = ${account}
        and not exists (select from webhook_endpoints where account_id = ${account})`.execute(tx);
    await sql`select pg_notify(${ENDPOINTS_CHANNEL}, ${account})`.execute(tx);
  });
}
