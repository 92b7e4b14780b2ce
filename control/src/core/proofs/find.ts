// SPDX-License-Identifier: Apache-2.0
/** Reading proofs and what a verifier needs of us. */
import type { HostFacts } from "#contract/link/machine.ts";
import type { Db } from "../../database/open.ts";

/** What a key id may look like; anything else (a NUL byte, say) is not asked of the database. */
const KEY_ID = /^[\w.-]{1,128}$/;

export async function findProofKey(db: Db, keyId: string) {
  if (!KEY_ID.test(keyId)) return null;
  const row = await db.selectFrom("proof_keys").selectAll().where("key_id", "=", keyId).executeTakeFirst();
  return row ?? null;
}

/** Remembers the issuers a host signs under, so that its proofs verify after it has gone. */
export async function rememberIssuers(db: Db, facts: HostFacts): Promise<void> {
  if (facts.issuers.length === 0) return;
  await db
    .insertInto("issuers")
    .values(facts.issuers.map((issuer) => ({ issuer_id: issuer.issuerId, public_key: issuer.publicKey })))
    .onConflict((conflict) => conflict.column("issuer_id").doNothing())
    .execute();
}

export async function listIssuers(db: Db): Promise<{ issuerId: string; publicKey: string }[]> {
  const rows = await db.selectFrom("issuers").select(["issuer_id", "public_key"]).execute();
  return rows.map((row) => ({ issuerId: row.issuer_id, publicKey: row.public_key }));
}

export async function revokedIssuerIds(db: Db): Promise<string[]> {
  const rows = await db
    .selectFrom("issuers")
    .select("issuer_id")
    .where("revoked_at", "is not", null)
    .execute();
  return rows.map((row) => row.issuer_id);
}
