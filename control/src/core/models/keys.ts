// SPDX-License-Identifier: Apache-2.0
/**
 * The key that signs artefacts, so that a device can tell what this installation made or took from what a
 * store or a proxy gave it. It is sealed by the vault and opened in memory; all that ever signed are served.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";
import { sql } from "kysely";
import type { Database } from "../../database/open.ts";
import type { Vault } from "../vault/index.ts";

export interface ArtifactFacts {
  sha256: string;
  sizeBytes: number;
  mediaType: string;
  functionId: string;
  number: number;
}

export interface ArtifactKeys {
  sign(facts: ArtifactFacts): { keyId: string; signature: Buffer };
  /** As JWK, newest first. */
  list(): Promise<{ kty: string; crv: string; kid: string; x: string }[]>;
}

/** What is signed: who has a signature cannot pass it off as that of other bytes, another model or another kind. */
export const statementOf = ({ sha256, sizeBytes, mediaType, functionId, number }: ArtifactFacts): Buffer =>
  Buffer.from(`${["casemate-artifact/1", sha256, sizeBytes, mediaType, functionId, number].join("\n")}\n`);

const identity = (keyId: string) => `artifact_keys/${keyId}/private`;

export async function openArtifactKeys(db: Database, vault: Vault): Promise<ArtifactKeys> {
  const { keyId, key } = (await newest(db, vault)) ?? (await make(db, vault));
  return {
    sign: (facts) => ({ keyId, signature: sign(null, statementOf(facts), key) }),
    list: async () => {
      const { rows } = await sql<{ key_id: string; public_key: Buffer }>`
        select key_id, public_key from artifact_keys order by created_at desc, key_id`.execute(db.soft);
      return rows.map(({ key_id: kid, public_key: spki }) => {
        const jwk = createPublicKey({ key: spki, format: "der", type: "spki" }).export({ format: "jwk" });
        return { kty: jwk.kty!, crv: jwk.crv!, kid, x: jwk.x! };
      });
    },
  };
}

async function newest(db: Database, vault: Vault): Promise<{ keyId: string; key: KeyObject } | null> {
  const { rows } = await sql<{ key_id: string; private_sealed: Buffer }>`
    select key_id, private_sealed from artifact_keys order by created_at desc, key_id limit 1`.execute(
    db.run,
  );
  if (rows[0] === undefined) return null;
  const der = await vault.open(identity(rows[0].key_id), rows[0].private_sealed);
  return { keyId: rows[0].key_id, key: createPrivateKey({ key: der, format: "der", type: "pkcs8" }) };
}

/** Of several replicas that start at once each may make one: all of them are served. */
async function make(db: Database, vault: Vault): Promise<{ keyId: string; key: KeyObject }> {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const spki = publicKey.export({ format: "der", type: "spki" });
  const keyId = `art_${createHash("sha256").update(spki).digest("hex").slice(0, 32)}`;
  const sealed = await vault.seal(identity(keyId), privateKey.export({ format: "der", type: "pkcs8" }));
  await sql`
    insert into artifact_keys (key_id, public_key, private_sealed) values (${keyId}, ${spki}, ${sealed})`.execute(
    db.run,
  );
  return { keyId, key: privateKey };
}
