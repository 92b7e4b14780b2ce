// SPDX-License-Identifier: Apache-2.0
/**
 * What the authorization server keeps, in PostgreSQL and nowhere else: any replica goes on where another
 * began.
 *
 *  A. A record is found by the SHA-256 of what its holder shows and sealed under that name, so a thief of
 *     the table can neither show a code or token nor move one's content to another's name.
 *  B. Codes and refresh tokens are used once: `consume` takes it in one conditional statement. Of two that
 *     show the same code at once one gets tokens; the other proves that somebody copied it, so what
 *     the grant gave is taken back.
 *  C. When a grant goes, its sign-in goes, and with it every access token that was given for it.
 */
import { createHash } from "node:crypto";
import { sql } from "kysely";
import { type Adapter, type AdapterPayload, errors } from "oidc-provider";
import type { Database } from "../../database/open.ts";
import type { Vault } from "../vault/index.ts";
import { findClient } from "./clients.ts";

const hashOf = (value: string): Buffer => createHash("sha256").update(value).digest();
const identityOf = (model: string, idHash: Buffer) => `oauth_records/${model}/${idHash.toString("hex")}`;

interface Row {
  id_hash: Buffer;
  sealed: Buffer;
  consumed_at: Date | null;
}

export class Records implements Adapter {
  readonly #model: string;
  readonly #db: Database;
  readonly #vault: Vault;

  constructor(model: string, db: Database, vault: Vault) {
    this.#model = model;
    this.#db = db;
    this.#vault = vault;
  }

  async upsert(id: string, payload: AdapterPayload, expiresIn?: number): Promise<void> {
    const idHash = hashOf(id);
    const sealed = await this.#vault.seal(
      identityOf(this.#model, idHash),
      Buffer.from(JSON.stringify(payload)),
    );
    const { grantId, accountId, uid, userCode } = payload;
    const grant = this.#model === "Grant" ? id : (grantId ?? null);
    await sql`
      insert into oauth_records (model, id_hash, sealed, grant_id, user_id, uid_hash, code_hash, expires_at)
      values (${this.#model}, ${idHash}, ${sealed}, ${grant}, ${accountId ?? null},
        ${uid === undefined ? null : hashOf(uid)}::bytea, ${userCode === undefined ? null : hashOf(userCode)}::bytea,
        ${expiresIn === undefined ? null : expiresIn}::int * interval '1 second' + now())
      on conflict (model, id_hash) do update set sealed = excluded.sealed, grant_id = excluded.grant_id,
        user_id = excluded.user_id, uid_hash = excluded.uid_hash, code_hash = excluded.code_hash,
        expires_at = excluded.expires_at`.execute(this.#db.run);
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    if (this.#model === "Client") return findClient(this.#db.run, id);
    return this.#open(
      await sql<Row>`
        select id_hash, sealed, consumed_at from oauth_records
        where model = ${this.#model} and id_hash = ${hashOf(id)} and (expires_at is null or expires_at > now())`.execute(
        this.#db.run,
      ),
    );
  }

  async findByUid(uid: string): Promise<AdapterPayload | undefined> {
    return this.#open(
      await sql<Row>`
        select id_hash, sealed, consumed_at from oauth_records
        where model = ${this.#model} and uid_hash = ${hashOf(uid)} and (expires_at is null or expires_at > now())`.execute(
        this.#db.run,
      ),
    );
  }

  async findByUserCode(userCode: string): Promise<AdapterPayload | undefined> {
    return this.#open(
      await sql<Row>`
        select id_hash, sealed, consumed_at from oauth_records
        where model = ${this.#model} and code_hash = ${hashOf(userCode)} and (expires_at is null or expires_at > now())`.execute(
        this.#db.run,
      ),
    );
  }

  async #open({ rows: [row] }: { rows: Row[] }): Promise<AdapterPayload | undefined> {
    if (row === undefined) return undefined;
    const text = await this.#vault.open(identityOf(this.#model, row.id_hash), row.sealed);
    const payload = JSON.parse(text.toString()) as AdapterPayload;
    return row.consumed_at === null
      ? payload
      : { ...payload, consumed: Math.floor(row.consumed_at.getTime() / 1000) };
  }

  async consume(id: string): Promise<void> {
    const { rows } = await sql<{ first: boolean; grant_id: string | null }>`
      with taken as (
        update oauth_records set consumed_at = now()
        where model = ${this.#model} and id_hash = ${hashOf(id)} and consumed_at is null
        returning true as first, grant_id
      )
      select * from taken union all
      select false, grant_id from oauth_records
      where model = ${this.#model} and id_hash = ${hashOf(id)} and not exists (select from taken)`.execute(
      this.#db.run,
    );
    if (rows[0]?.first) return;
    if (rows[0]?.grant_id) await this.revokeByGrantId(rows[0].grant_id);
    throw new errors.InvalidGrant("already consumed");
  }

  async destroy(id: string): Promise<void> {
    if (this.#model === "Grant") return this.revokeByGrantId(id);
    await sql`delete from oauth_records where model = ${this.#model} and id_hash = ${hashOf(id)}`.execute(
      this.#db.run,
    );
  }

  async revokeByGrantId(grantId: string): Promise<void> {
    await sql`
      with gone as (delete from sign_ins where sid = ${grantId})
      delete from oauth_records where grant_id = ${grantId}`.execute(this.#db.run);
  }
}

export async function forgetRecords(db: Database): Promise<void> {
  for (const table of ["oauth_records", "sign_ins", "revoked_tokens"])
    await sql`delete from ${sql.table(table)} where expires_at < now() - interval '1 minute'`.execute(
      db.soft,
    );
  await sql`delete from oauth_keys where retired_at < now() - interval '1 day'`.execute(db.soft);
}
