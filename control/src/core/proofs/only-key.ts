// SPDX-License-Identifier: Apache-2.0
/** Keys of which the installation has one each for good: drawn when first needed, sealed by the vault, opened in memory only. */
import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { sql } from "kysely";
import type { Database, Db } from "../../database/open.ts";
import type { Vault } from "../vault/index.ts";

export interface OnlyKey {
  spki: Buffer;
  /** The last 32 bytes of the SPKI. */
  raw: Buffer;
  madeAt: Date;
  sign(message: Uint8Array): Uint8Array;
}

export async function openOnlyKey(
  db: Database,
  vault: Vault,
  table: "issuer_identity" | "proof_export_key",
): Promise<OnlyKey> {
  const held = await read(db.run, vault, table);
  if (held !== null) return held;
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const sealed = await vault.seal(identityOf(table), privateKey.export({ format: "der", type: "pkcs8" }));
  await sql`
    insert into ${sql.table(table)} (public_key, private_sealed)
    values (${publicKey.export({ format: "der", type: "spki" })}, ${sealed}) on conflict do nothing`.execute(
    db.run,
  );
  // Not the one just made, if another replica was quicker.
  return (await read(db.run, vault, table))!;
}

const identityOf = (table: string) => `${table}/1/private`;

async function read(db: Db, vault: Vault, table: string): Promise<OnlyKey | null> {
  const { rows } = await sql<{ public_key: Buffer; private_sealed: Buffer; created_at: Date }>`
    select public_key, private_sealed, created_at from ${sql.table(table)}`.execute(db);
  const row = rows[0];
  if (row === undefined) return null;
  const der = await vault.open(identityOf(table), row.private_sealed);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  return {
    ...{ spki: row.public_key, raw: row.public_key.subarray(-32), madeAt: row.created_at },
    sign: (message) => sign(null, message, key),
  };
}
