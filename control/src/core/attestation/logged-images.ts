// SPDX-License-Identifier: Apache-2.0
/**
 * Guest images in the log. What a workload or an instance names is entered by the database itself, in the same
 * transaction (migration 54). What is offered is entered before anybody chose it, so that who chooses can look first.
 */
import { sql } from "kysely";
import { imageSignatureFault } from "#evidence/images/signature.ts";
import type { Issuer } from "#evidence/proofs/certificate.ts";
import type { Database, Db } from "../../database/open.ts";
import type { GuestImages } from "./guest-images.ts";

export async function isLogged(db: Db, sha256: string): Promise<boolean> {
  const { rows } = await sql`select from proof_leaves where image_sha256 = ${sha256}`.execute(db);
  return rows.length > 0;
}

/** One turn. Not what nobody signed whom this installation knows: whoever can write to the folder could fill the log. */
export function openImageTurn({
  db,
  guestImages,
  issuers,
}: {
  db: Database;
  guestImages: Pick<GuestImages, "offered">;
  issuers(): Promise<Issuer[]>;
}): () => Promise<void> {
  const done = new Set<string>();
  return async () => {
    const fresh = guestImages.offered().filter(({ sha256 }) => !done.has(sha256));
    if (fresh.length === 0) return;
    const known = await issuers();
    for (const { sha256, signature } of fresh) {
      if (imageSignatureFault(signature, sha256, known) !== null) continue;
      await sql`select log_guest_image(${sha256})`.execute(db.run);
      done.add(sha256);
    }
  };
}
