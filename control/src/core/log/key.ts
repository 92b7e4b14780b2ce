// SPDX-License-Identifier: Apache-2.0
/**
 * The key that signs checkpoints. It is made once for the whole installation, lies in the database sealed by the vault, and is opened in memory only. A retired key
 * signs nothing any more and is told for good: what it signed is held by strangers.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { sql } from "kysely";
import { ED25519, keyIdOf, type NoteKey, writeNoteKey } from "#evidence/log/note.ts";
import type { Database, Db } from "../../database/open.ts";
import type { Vault } from "../vault/index.ts";

export interface LogKey extends NoteKey {
  sign(message: Uint8Array): Uint8Array;
}

const identity = (keyId: string) => `log_keys/${keyId}/private`;

/** The log's name and the key that signs now, both made at the first start. Not to be called inside a transaction. */
export async function openLogKey(db: Database, vault: Vault, wanted: string | null): Promise<LogKey> {
  const made = wanted ?? `casemate/${randomBytes(8).toString("hex")}`;
  const { rows } = await sql<{ origin: string }>`
    update log_head set origin = coalesce(origin, ${made}) returning origin`.execute(db.run);
  const { origin } = rows[0]!;
  // Checkpoints of this log say its first name, and strangers hold them. After a restart it is one below it.
  if (wanted !== null && wanted !== origin && !origin.startsWith(`${wanted}/`))
    throw new Error(`config transparency.origin: this log has been ${origin} since its first start`);
  const active = await readActive(db, vault, origin);
  if (active !== null) return active;
  await insert(db.run, vault, make(origin));
  // Not the one just made, if another replica was quicker.
  return (await readActive(db, vault, origin))!;
}

/** Adds the key that signs from now on and retires the one before it. Returns it as C2SP writes keys. */
export async function rotateLogKey(db: Database, vault: Vault): Promise<string> {
  const next = make((await openLogKey(db, vault, null)).name);
  const sealed = await seal(vault, next);
  await db.write(async (tx) => {
    // The writer holds this row while it signs: no checkpoint is signed by a key that was retired before it.
    await sql`select from log_head for update`.execute(tx);
    await sql`update log_keys set retired_at = now() where retired_at is null`.execute(tx);
    await insertSealed(tx, next, sealed);
  });
  return writeNoteKey(next);
}

/**
 * Begins another log with the same entries, under a name below the first, and abandons the one named.
 * For a log that was stopped because its database was restored: what it signed since the backup is held by
 * strangers and cannot be signed again. Checkpoints of the abandoned one show nothing in the new one.
 * Returns the new key, or null when `abandoned` is not the log's name (any more).
 */
export async function restartLog(db: Database, vault: Vault, abandoned: string): Promise<string | null> {
  const root = abandoned.replace(/\/r-[0-9a-f]{8}$/, "");
  const next = make(`${root}/r-${randomBytes(4).toString("hex")}`);
  const sealed = await seal(vault, next);
  return db.write(async (tx) => {
    const { rows } = await sql`
      update log_head set origin = ${next.name}, size = 0, frontier = ''
      where origin = ${abandoned} returning id`.execute(tx);
    if (rows.length === 0) return null;
    await sql`update log_keys set retired_at = now() where retired_at is null`.execute(tx);
    await insertSealed(tx, next, sealed);
    return writeNoteKey(next);
  });
}

/** True while this key is the one that signs; asked by the writer under the log's row. */
export async function isActive(tx: Db, key: LogKey): Promise<boolean> {
  const { rows } = await sql`select from log_keys where retired_at is null and key_id = ${idOf(key)}`.execute(
    tx,
  );
  return rows.length === 1;
}

async function readActive({ run }: Database, vault: Vault, origin: string): Promise<LogKey | null> {
  const { rows } = await sql<{ key_id: string; public_key: Buffer; private_sealed: Buffer }>`
    select * from log_keys where retired_at is null`.execute(run);
  const row = rows[0];
  if (row === undefined) return null;
  const der = await vault.open(identity(row.key_id), row.private_sealed);
  return logKey(origin, row.public_key, createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
}

interface MadeKey extends LogKey {
  /** PKCS #8. */
  private: Buffer;
}

function make(origin: string): MadeKey {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url");
  return { ...logKey(origin, raw, privateKey), private: privateKey.export({ format: "der", type: "pkcs8" }) };
}

const idOf = (key: NoteKey) => Buffer.from(keyIdOf(key)).toString("hex");
const seal = (vault: Vault, key: MadeKey) => vault.seal(identity(idOf(key)), key.private);
const insert = async (db: Db, vault: Vault, key: MadeKey) => insertSealed(db, key, await seal(vault, key));
const insertSealed = (db: Db, key: MadeKey, sealed: Buffer) =>
  sql`
    insert into log_keys (key_id, origin, public_key, private_sealed)
    values (${idOf(key)}, ${key.name}, ${key.raw}, ${sealed})
    on conflict do nothing`.execute(db);

const logKey = (name: string, raw: Uint8Array, key: KeyObject): LogKey => ({
  ...{ name, type: ED25519, raw },
  sign: (message) => sign(null, message, key),
});

/** Everything that ever signed, newest first, as C2SP writes keys; of abandoned logs too. */
export async function listLogKeys(
  db: Db,
): Promise<{ origin: string; keys: { key: string; retired: boolean }[] }> {
  const { rows } = await sql<{ now: string; origin: string; public_key: Buffer; retired_at: Date | null }>`
    select h.origin as now, k.origin, k.public_key, k.retired_at
    from log_head h, log_keys k order by k.created_at desc, k.key_id`.execute(db);
  const keys = rows.map(({ origin, public_key, retired_at }) => ({
    key: writeNoteKey({ name: origin, type: ED25519, raw: public_key }),
    retired: retired_at !== null,
  }));
  return { origin: rows[0]?.now ?? "", keys };
}
