// SPDX-License-Identifier: Apache-2.0
/**
 * Idempotency-Key on creating POSTs: scoped to account and route, kept 24 hours, the first result
 * replayed. The key is claimed by a unique row before the work starts, so of two at once one works
 * and the other waits briefly. Failures are not kept: nothing was created, so trying again is right.
 */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import canonicalize from "canonicalize";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Database } from "../database/open.ts";
import type { Answer, Call } from "./call.ts";

const WAIT_MS = 5000;
/** A claim whose process died is free again after this. */
const HELD_S = 120;
const KEY_FORM = /^[\x21-\x7e]{1,255}$/;

interface Claim {
  status: number | null;
  body: string | null;
  headers: Record<string, string> | null;
  body_hash: Buffer;
  mine: boolean;
}

export async function once(
  db: Database,
  call: Call,
  route: string,
  work: () => Promise<Answer>,
): Promise<Answer> {
  const key = call.headers["idempotency-key"];
  if (key === undefined) return work();
  if (typeof key !== "string" || !KEY_FORM.test(key)) {
    throw new Fault("request.invalid", {
      detail: "Idempotency-Key must be 1 to 255 visible ASCII characters",
    });
  }
  const hash = createHash("sha256")
    // A dry run and the real call are two requests.
    .update(canonicalize([call.body ?? null, call.query]) ?? "")
    .digest();
  // The operator has no account; its keys are its own.
  const owner = call.principal?.account?.id ?? "operator";
  const claim = await claimKey(db, owner, route, key, hash);
  if (!claim.mine) return replay(claim, hash);
  try {
    const answer = await work();
    await settle(db, owner, route, key, answer);
    return answer;
  } catch (error) {
    await free(db, owner, route, key);
    throw error;
  }
}

async function claimKey(
  db: Database,
  account: string,
  route: string,
  key: string,
  hash: Buffer,
): Promise<Claim> {
  const deadline = performance.now() + WAIT_MS;
  for (;;) {
    const { rows } = await sql<{ body_hash: Buffer }>`
      insert into idempotency (account_id, route, key, body_hash, held_until, expires_at)
      values (${account}, ${route}, ${key}, ${hash}, now() + make_interval(secs => ${HELD_S}), now() + interval '24 hours')
      on conflict (account_id, route, key) do update
        set body_hash = excluded.body_hash, status = null, body = null,
            held_until = excluded.held_until, expires_at = excluded.expires_at
        where idempotency.expires_at < now() or (idempotency.status is null and idempotency.held_until < now())
      returning body_hash`.execute(db.run);
    if (rows.length === 1) return { status: null, body: null, headers: null, body_hash: hash, mine: true };
    const row = await db.run
      .selectFrom("idempotency")
      .select(["status", "body", "headers", "body_hash"])
      .where("account_id", "=", account)
      .where("route", "=", route)
      .where("key", "=", key)
      .executeTakeFirst();
    if (row !== undefined && (row.status !== null || !row.body_hash.equals(hash)))
      return { ...row, mine: false };
    if (row !== undefined && performance.now() > deadline) {
      throw new Fault("idempotency.in-flight", {}, { retryAfterSeconds: 1 });
    }
    await sleep(50);
  }
}

function replay(claim: Claim, hash: Buffer): Answer {
  if (!claim.body_hash.equals(hash)) throw new Fault("idempotency.mismatch");
  return {
    status: claim.status!,
    bytes: Buffer.from(claim.body ?? ""),
    mediaType: "application/json; charset=utf-8",
    headers: { ...claim.headers, "idempotency-replayed": "true" },
  };
}

async function settle(
  db: Database,
  account: string,
  route: string,
  key: string,
  answer: Answer,
): Promise<void> {
  await db.run
    .updateTable("idempotency")
    .set({
      status: answer.status,
      body: "body" in answer ? JSON.stringify(answer.body) : null,
      headers: JSON.stringify(answer.headers ?? {}),
    })
    .where("account_id", "=", account)
    .where("route", "=", route)
    .where("key", "=", key)
    .execute();
}

async function free(db: Database, account: string, route: string, key: string): Promise<void> {
  await db.run
    .deleteFrom("idempotency")
    .where("account_id", "=", account)
    .where("route", "=", route)
    .where("key", "=", key)
    .execute();
}
