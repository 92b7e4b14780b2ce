// SPDX-License-Identifier: Apache-2.0
/**
 * How bytes get into the store without the collector taking them out again, and the other way round.
 *
 *   row claimed (young, so not collected) ─▶ bytes under their digest ─▶ a surface's row points at it
 *
 *  A. The row of a blob is there before its file is, so a file without a row belongs to nobody.
 *  B. Whoever points at a blob touches its row in the same statement (`touchClause`). The collector
 *     condemns only what nobody touched for long, in a statement that waits for ours: one of the two
 *     sees the other.
 *  C. What is being removed can neither be brought nor pointed at. Bringing waits until it is gone.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Database } from "../database/open.ts";
import { digestBytes } from "./digest.ts";
import type { BlobStore, Stored } from "./port.ts";

export interface Blobs {
  db: Database;
  store: BlobStore;
}

const WAIT_MS = 5_000;
const STEP_MS = 50;

/** An upload that has been hashed becomes a blob. */
export async function bringUpload({ db, store }: Blobs, upload: string, stored: Stored): Promise<void> {
  await claim(db, stored);
  await store.finish(upload, stored.digest);
}

/** Bytes that are in memory become a blob. */
export async function bringBytes({ db, store }: Blobs, bytes: Buffer, stored: Stored): Promise<void> {
  await claim(db, stored);
  await store.put(pieces(bytes), { digest: stored.digest, bytesMax: stored.sizeBytes });
}

/** Clause `blob` (digest, size_bytes), empty when there is no such blob (B, C). */
export const touchClause = (digest: RawBuilder<unknown>): RawBuilder<unknown> => sql`
  blob as (
    update blobs set touched_at = now() where digest = ${digest} and removing is null
    returning digest, size_bytes
  )`;

async function claim(db: Database, { digest, sizeBytes }: Stored): Promise<void> {
  const until = performance.now() + WAIT_MS;
  for (;;) {
    const { rows } = await sql`
      insert into blobs (digest, size_bytes) values (${digestBytes(digest)}, ${sizeBytes})
      on conflict (digest) do update set touched_at = now() where blobs.removing is null
      returning digest`.execute(db.run);
    if (rows.length === 1) return;
    if (performance.now() > until) throw new Fault("platform.overloaded", {}, { retryAfterSeconds: 5 });
    await sleep(STEP_MS);
  }
}

async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  yield bytes;
}
