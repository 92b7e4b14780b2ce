// SPDX-License-Identifier: Apache-2.0
/**
 * Pruning. Old entries go, and a signed checkpoint says up to where and with which head: what remains
 * is a chain that starts from a value somebody answers for, instead of from nothing. The checkpoint
 * and the deletion are one transaction under the account's lock.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import canonicalize from "canonicalize";
import { sql } from "kysely";
import type { Database, Tx } from "../../database/open.ts";

/** Seals the private key; the vault's two functions and nothing else of it. */
export interface Sealer {
  seal(identity: string, value: Uint8Array): Promise<Buffer>;
  open(identity: string, sealed: Uint8Array): Promise<Buffer>;
}

export interface Checkpoint {
  account: string;
  /** The last pruned entry. */
  seq: number;
  /** Its head, hex. */
  head: string;
  keyId: number;
}

const identityOf = (id: number) => `journal_keys/${id}/private`;
const messageOf = (checkpoint: Checkpoint) =>
  Buffer.from(`casemate/journal-checkpoint/1\n${canonicalize(checkpoint)}`);

/** Prunes what is older than `days` of every account; returns how many entries went. */
export async function pruneJournal(db: Database, sealer: Sealer, days: number): Promise<number> {
  const { rows } = await sql<{ account_id: string }>`
    select distinct account_id from journal where at < now() - make_interval(days => ${days})`.execute(
    db.soft,
  );
  if (rows.length === 0) return 0;
  const key = await signingKey(db, sealer);
  let pruned = 0;
  for (const { account_id } of rows)
    pruned += await db.write((tx) => pruneAccount(tx, account_id, days, key));
  return pruned;
}

interface SigningKey {
  id: number;
  key: KeyObject;
}

async function pruneAccount(tx: Tx, account: string, days: number, { id, key }: SigningKey): Promise<number> {
  await sql`select from accounts where id = ${account} for update`.execute(tx);
  // Only a prefix goes: an old entry behind a younger one (a clock was set back) stays with it.
  const { rows } = await sql<{ seq: number; head: Buffer }>`
    select seq, head from journal
    where account_id = ${account} and seq < coalesce(
      (select min(seq) from journal where account_id = ${account} and at >= now() - make_interval(days => ${days})), 9007199254740991)
    order by seq desc limit 1`.execute(tx);
  const last = rows[0];
  if (last === undefined) return 0;
  const checkpoint: Checkpoint = { account, seq: last.seq, head: last.head.toString("hex"), keyId: id };
  await sql`
    insert into journal_checkpoints (account_id, seq, head, key_id, signature)
    values (${account}, ${last.seq}, ${last.head}, ${id}, ${sign(null, messageOf(checkpoint), key)})`.execute(
    tx,
  );
  const { numAffectedRows } = await sql`
    delete from journal where account_id = ${account} and seq <= ${last.seq}`.execute(tx);
  return Number(numAffectedRows ?? 0);
}

async function signingKey(db: Database, sealer: Sealer): Promise<SigningKey> {
  const found = await sql<{ id: number; private_sealed: Buffer }>`
    select id, private_sealed from journal_keys order by id desc limit 1`.execute(db.run);
  const row = found.rows[0];
  if (row !== undefined) {
    const der = await sealer.open(identityOf(row.id), row.private_sealed);
    return { id: row.id, key: createPrivateKey({ key: der, format: "der", type: "pkcs8" }) };
  }
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const { rows } = await sql<{ id: number }>`select nextval('journal_keys_id_seq')::int as id`.execute(
    db.run,
  );
  const id = rows[0]!.id;
  const sealed = await sealer.seal(identityOf(id), privateKey.export({ format: "der", type: "pkcs8" }));
  await sql`
    insert into journal_keys (id, public_key, private_sealed)
    overriding system value values (${id}, ${publicKey.export({ format: "der", type: "spki" })}, ${sealed})`.execute(
    db.run,
  );
  return { id, key: privateKey };
}

/** The newest checkpoint of an account, when its signature holds; throws when it does not. */
export async function findCheckpoint(db: Database, account: string): Promise<Checkpoint | null> {
  const { rows } = await sql<{
    seq: number;
    head: Buffer;
    key_id: number;
    signature: Buffer;
    public_key: Buffer;
  }>`
    select c.seq, c.head, c.key_id, c.signature, k.public_key
    from journal_checkpoints c join journal_keys k on k.id = c.key_id
    where c.account_id = ${account} order by c.seq desc limit 1`.execute(db.soft);
  const row = rows[0];
  if (row === undefined) return null;
  const checkpoint = { account, seq: row.seq, head: row.head.toString("hex"), keyId: row.key_id };
  const key = createPublicKey({ key: row.public_key, format: "der", type: "spki" });
  if (!verify(null, messageOf(checkpoint), key, row.signature)) {
    throw new Error(`the journal's checkpoint of ${account} at ${row.seq} does not verify`);
  }
  return checkpoint;
}
