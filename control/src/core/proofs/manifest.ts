// SPDX-License-Identifier: Apache-2.0
/**
 * The signed list of issuers, made when somebody asks. The key that signs it is the installation's for
 * good, drawn when it is first needed, sealed by the vault and opened in memory only.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { sql } from "kysely";
import { type IssuerManifest, signIssuerManifest } from "#evidence/proofs/issuer-manifest.ts";
import { readPublicKey } from "#evidence/proofs/keys.ts";
import { wireTime } from "#evidence/proofs/time.ts";
import type { Database, Db } from "../../database/open.ts";
import type { Vault } from "../vault/index.ts";

const IDENTITY = "issuer_identity/1/private";

interface Identity {
  spki: Buffer;
  key: KeyObject;
}

/** With issuers of hosts long gone. A key that could never verify anything, which a host announced, is left out. */
export async function issuerManifest(db: Database, vault: Vault, now: Date): Promise<IssuerManifest> {
  const { spki, key } = await openIdentity(db, vault);
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
  return signIssuerManifest(facts, spki, (message) => sign(null, message, key));
}

async function openIdentity(db: Database, vault: Vault): Promise<Identity> {
  const held = await readIdentity(db.run, vault);
  if (held !== null) return held;
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const sealed = await vault.seal(IDENTITY, privateKey.export({ format: "der", type: "pkcs8" }));
  await sql`
    insert into issuer_identity (public_key, private_sealed)
    values (${publicKey.export({ format: "der", type: "spki" })}, ${sealed}) on conflict do nothing`.execute(
    db.run,
  );
  // Not the one just made, if another replica was quicker.
  return (await readIdentity(db.run, vault))!;
}

async function readIdentity(db: Db, vault: Vault): Promise<Identity | null> {
  const { rows } = await sql<{ public_key: Buffer; private_sealed: Buffer }>`
    select public_key, private_sealed from issuer_identity`.execute(db);
  const row = rows[0];
  if (row === undefined) return null;
  const der = await vault.open(IDENTITY, row.private_sealed);
  return { spki: row.public_key, key: createPrivateKey({ key: der, format: "der", type: "pkcs8" }) };
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
