// SPDX-License-Identifier: Apache-2.0
/** The signed list of issuers, made when somebody asks, and what is taken back with it. */
import { sql } from "kysely";
import { type IssuerManifest, signIssuerManifest } from "#evidence/proofs/issuer-manifest.ts";
import { readPublicKey } from "#evidence/proofs/keys.ts";
import { wireTime } from "#evidence/proofs/time.ts";
import type { Database, Db } from "../../database/open.ts";
import type { Vault } from "../vault/index.ts";
import { openOnlyKey } from "./only-key.ts";

/** With issuers of hosts long gone. A key that could never verify anything, which a host announced, is left out. */
export async function issuerManifest(db: Database, vault: Vault, now: Date): Promise<IssuerManifest> {
  const identity = await openOnlyKey(db, vault, "issuer_identity");
  const issuers = await sql<{ issuer_id: string; public_key: string; revoked: boolean }>`
    select issuer_id, public_key, revoked_at is not null as revoked from issuers
    order by first_seen, issuer_id`.execute(db.run);
  const keys = await sql<{ key_id: string }>`
    select key_id from proof_keys where revoked_at is not null order by key_id`.execute(db.run);
  const facts = {
    issued_at: wireTime(now),
    issuers: issuers.rows.filter(({ public_key }) => typeof readPublicKey(public_key) !== "string"),
    revoked_keys: keys.rows.map(({ key_id }) => key_id),
  };
  return signIssuerManifest(facts, identity.spki, identity.sign);
}

/** What is revoked stays revoked. False when there is no such issuer. */
export async function revokeIssuer(db: Db, issuerId: string): Promise<boolean> {
  const { rows } = await sql`
    update issuers set revoked_at = coalesce(revoked_at, now()) where issuer_id = ${issuerId}
    returning issuer_id`.execute(db);
  return rows.length === 1;
}

/** Of one session's proof. False when there is no such key. */
export async function revokeProofKey(db: Db, keyId: string): Promise<boolean> {
  const { rows } = await sql`
    update proof_keys set revoked_at = coalesce(revoked_at, now()) where key_id = ${keyId}
    returning key_id`.execute(db);
  return rows.length === 1;
}
