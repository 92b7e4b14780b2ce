// SPDX-License-Identifier: Apache-2.0
/**
 * Secrets at rest. Values are sealed with AES-256-GCM under a data key, with the row's identity as
 * associated data, so an attacker who can write the database cannot move a sealed value to a row of
 * theirs and have it opened. Data keys lie in the database wrapped by a key-encryption key that does
 * not: a stolen database opens nothing.
 *
 *  A. Sealed form: 1 byte version ‖ 4 bytes data key id ‖ 12 bytes nonce ‖ ciphertext ‖ 16 bytes tag.
 *  B. A nonce is random; a data key is replaced after SEALS_MAX values, far below the 2^32 bound of
 *     NIST SP 800-38D for random nonces.
 *  C. Rotation adds a new key-encryption key and wraps every data key again; no value is rewritten.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomBytes } from "node:crypto";
import { sql } from "kysely";
import type { Db } from "../../database/open.ts";
import { pooledBytes } from "../random.ts";
import type { KeyRing } from "./key-ring.ts";

const VERSION = 1;
const HEADER = 5;
const NONCE = 12;
const TAG = 16;
const NOTHING = Buffer.alloc(0);
const SEALS_MAX = 2 ** 28;

export interface Vault {
  /** `identity` names table, row and column, e.g. `proofs/sess_…/salt`. */
  seal(identity: string, value: Uint8Array): Promise<Buffer>;
  /** Throws when the value was changed, moved or sealed by a key we do not have. */
  open(identity: string, sealed: Uint8Array): Promise<Buffer>;
  /** Wraps every data key under the ring's newest key. Returns how many were wrapped anew. */
  rewrap(): Promise<number>;
}

export function openVault(db: Db, ring: KeyRing): Vault {
  // Ready for use: making one of raw bytes costs more than opening a small value.
  const keys = new Map<number, KeyObject>();
  let current: { id: number; seals: number } | null = null;

  const dataKey = async (id: number): Promise<KeyObject> => {
    const held = keys.get(id);
    if (held) return held;
    const row = await db.selectFrom("vault_data_keys").selectAll().where("id", "=", id).executeTakeFirst();
    if (row === undefined) throw new Error(`data key ${id} is not in the database`);
    const raw = openWith(await ring.require(row.kek_id), "vault_data_keys", row.wrapped);
    const key = createSecretKey(raw);
    raw.fill(0);
    keys.set(id, key);
    return key;
  };
  const makeDataKey = async (): Promise<number> => {
    const key = randomBytes(32);
    const kek = ring.newest();
    const { rows } = await sql<{ id: number }>`
      insert into vault_data_keys (kek_id, wrapped)
      values (${kek.id}, ${sealWith(kek.key, "vault_data_keys", key)}) returning id`.execute(db);
    keys.set(rows[0]!.id, createSecretKey(key));
    key.fill(0);
    return rows[0]!.id;
  };
  let making: Promise<number> | null = null;

  return {
    async seal(identity, value) {
      if (current === null || current.seals >= SEALS_MAX) {
        making ??= makeDataKey().finally(() => {
          making = null;
        });
        const id = await making;
        if (current === null || current.id !== id) current = { id, seals: 0 };
      }
      current.seals++;
      const header = Buffer.alloc(HEADER);
      header[0] = VERSION;
      header.writeUInt32BE(current.id, 1);
      return sealWith(keys.get(current.id)!, identity, value, header);
    },
    async open(identity, sealed) {
      const bytes = Buffer.from(sealed);
      if (bytes.length < HEADER + NONCE + TAG || bytes[0] !== VERSION) throw new Error("not a sealed value");
      return openWith(await dataKey(bytes.readUInt32BE(1)), identity, bytes.subarray(HEADER));
    },
    async rewrap() {
      const newest = ring.newest();
      const rows = await db
        .selectFrom("vault_data_keys")
        .selectAll()
        .where("kek_id", "<>", newest.id)
        .execute();
      for (const row of rows) {
        const key = openWith(await ring.require(row.kek_id), "vault_data_keys", row.wrapped);
        const wrapped = sealWith(newest.key, "vault_data_keys", key);
        await db
          .updateTable("vault_data_keys")
          .set({ kek_id: newest.id, wrapped })
          .where("id", "=", row.id)
          .where("kek_id", "=", row.kek_id)
          .execute();
        key.fill(0);
      }
      return rows.length;
    },
  };
}

function sealWith(
  key: Buffer | KeyObject,
  identity: string,
  value: Uint8Array,
  header: Uint8Array = NOTHING,
): Buffer {
  const nonce = pooledBytes(NONCE);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(identity));
  const text = cipher.update(value);
  // In this mode nothing is held back to the end, but only then there is a tag.
  cipher.final();
  return Buffer.concat([header, nonce, text, cipher.getAuthTag()]);
}

function openWith(key: Buffer | KeyObject, identity: string, sealed: Buffer): Buffer {
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, NONCE), { authTagLength: TAG });
  decipher.setAAD(Buffer.from(identity)).setAuthTag(sealed.subarray(sealed.length - TAG));
  return Buffer.concat([decipher.update(sealed.subarray(NONCE, sealed.length - TAG)), decipher.final()]);
}
