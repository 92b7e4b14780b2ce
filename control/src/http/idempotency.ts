// SPDX-License-Identifier: Apache-2.0
/**
 * Idempotency-Key on creating POSTs: scoped to account and route, kept 24 hours, the first result
 * replayed. The key is claimed by a unique row before the work starts, so of two at once one works
 * and the other waits briefly. Failures are not kept: nothing was created, so trying again is right.
 *
 *  A. What a row holds of request and answer is sealed by the vault under the row's identity. A plain
 *     hash of the request would let a thief of the database try short bodies until one fits, and
 *     answers show what clients gave. Every replica has the data keys, and `keys rotate` keeps them.
 *  B. Work that must not happen twice takes `Call.once` into its own statement. A process that dies
 *     after that, before the answer is kept, leaves a claim of which the next try does nothing again.
 *  C. What it made by then is found again by its id, which is derived from the claim: the seed is random,
 *     known to the row and to who has the claim, and new with each claim.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import canonicalize from "canonicalize";
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { pooledBytes } from "../core/random.ts";
import type { Vault } from "../core/vault/index.ts";
import type { Database, Db } from "../database/open.ts";
import type { Answer, Call } from "./call.ts";

const WAIT_MS = 5000;
/** A claim whose process died is free again after this. */
const HELD_S = 120;
const KEY_FORM = /^[\x21-\x7e]{1,255}$/;

export interface OnceDeps {
  db: Database;
  vault: Vault;
}

/** A row of the table. The operator has no account; its keys are its own. */
export interface Place {
  owner: string;
  route: string;
  key: string;
}

/** A row that is ours until it is settled. The sealed form of the request is random, so it tells claims apart. */
interface Claim extends Place {
  mark: Buffer;
}

/** What was answered before. */
interface Kept {
  status: number;
  sealed: Buffer;
}

export interface Content {
  body: string | null;
  headers: Record<string, string>;
}

/** Without a key every call is the first. */
export const EVERY_TIME = sql`once as (select true)`;

export async function once(
  deps: OnceDeps,
  call: Call,
  route: string,
  work: () => Promise<Answer>,
  body: unknown = call.body,
): Promise<Answer> {
  const key = call.headers["idempotency-key"];
  if (key === undefined) return work();
  if (typeof key !== "string" || !KEY_FORM.test(key)) {
    throw new Fault("request.invalid", {
      detail: "Idempotency-Key must be 1 to 255 visible ASCII characters",
    });
  }
  const named = Object.entries(call.params).map(([name, value]) => `${name}=${value}`);
  const hash = createHash("sha256")
    // A dry run and the real call are two requests, and so are the same words to two things.
    .update(canonicalize([body ?? null, call.query, ...(named.length > 0 ? [named] : [])]) ?? "")
    .digest();
  const place = { owner: call.owner, route, key };
  const found = await claimOrFind(deps, place, hash);
  if ("status" in found) return replay(deps, place, found);
  const claim = { ...place, mark: found.mark };
  call.once = onceClause(claim);
  call.seed = claim.mark;
  call.inEffect = found.inEffect;
  call.undone = async () => {
    await sql`update idempotency set in_effect = false where ${isOurs(claim)}`.execute(deps.db.run);
  };
  try {
    const answer = await work();
    await settle(deps, claim, answer);
    return answer;
  } catch (error) {
    await free(deps, claim);
    throw error;
  }
}

/** Ours only: a claim that was held too long may be another's by now. */
const isOurs = ({ owner, route, key, mark }: Claim): RawBuilder<unknown> =>
  sql`account_id = ${owner} and route = ${route} and key = ${key} and request_sealed = ${mark}`;

/** Of a key's characters some have a meaning in a path; as JSON no two rows have one name. */
const identity = ({ owner, route, key }: Place, column: "request" | "answer"): string =>
  `idempotency/${JSON.stringify([owner, route, key])}/${column}`;

/** C. `what` tells apart what one request makes; without a seed any id does. */
const seeded = (seed: Buffer | null, what: string): Buffer =>
  seed === null ? pooledBytes(16) : createHash("sha256").update(what).update(seed).digest().subarray(0, 16);

export const seededId = (seed: Buffer | null, prefix: string): string =>
  `${prefix}_${seeded(seed, prefix).toString("hex")}`;

/** In the form of a random one (RFC 9562, version 4). */
export function seededUuid(seed: Buffer | null): string {
  const bytes = Buffer.from(seeded(seed, "uuid"));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

const onceClause = (claim: Claim): RawBuilder<unknown> => sql`
  once as (update idempotency set in_effect = true where ${isOurs(claim)} and not in_effect returning true)`;

async function claimOrFind(
  { db, vault }: OnceDeps,
  place: Place,
  hash: Buffer,
): Promise<{ mark: Buffer; inEffect: boolean } | Kept> {
  const { owner, route, key } = place;
  const mark = await vault.seal(identity(place, "request"), hash);
  const deadline = performance.now() + WAIT_MS;
  for (;;) {
    // Of a claim left behind by a process that died, only the same request takes over what is in effect (B).
    const { rows } = await sql`
      insert into idempotency (account_id, route, key, request_sealed, held_until, expires_at)
      values (${owner}, ${route}, ${key}, ${mark}, now() + make_interval(secs => ${HELD_S}), now() + interval '24 hours')
      on conflict (account_id, route, key) do update
        set request_sealed = excluded.request_sealed, status = null, answer_sealed = null,
            in_effect = false, held_until = excluded.held_until, expires_at = excluded.expires_at
        where idempotency.expires_at < now()
          or (idempotency.status is null and idempotency.held_until < now() and not idempotency.in_effect)
      returning 1`.execute(db.run);
    if (rows.length === 1) return { mark, inEffect: false };
    const row = await db.run
      .selectFrom("idempotency")
      .select(["status", "request_sealed", "answer_sealed", "in_effect"])
      .where("account_id", "=", owner)
      .where("route", "=", route)
      .where("key", "=", key)
      .executeTakeFirst();
    if (row !== undefined) {
      const before = await vault.open(identity(place, "request"), row.request_sealed);
      if (!timingSafeEqual(before, hash)) throw new Fault("idempotency.mismatch");
      if (row.status !== null) return { status: row.status, sealed: row.answer_sealed! };
      const left = { ...place, mark: row.request_sealed };
      if (row.in_effect && (await takeOver(db, left))) return { mark: left.mark, inEffect: true };
      if (performance.now() > deadline)
        throw new Fault("idempotency.in-flight", {}, { retryAfterSeconds: 1 });
    }
    await sleep(50);
  }
}

/** Its process is gone, and what it had to do is done: whoever takes it over has only to answer. */
async function takeOver(db: Database, claim: Claim): Promise<boolean> {
  const { rows } = await sql`
    update idempotency set held_until = now() + make_interval(secs => ${HELD_S})
    where ${isOurs(claim)} and status is null and in_effect and held_until < now() returning 1`.execute(
    db.run,
  );
  return rows.length === 1;
}

async function replay({ vault }: OnceDeps, place: Place, { status, sealed }: Kept): Promise<Answer> {
  const content = await openContent(vault, place, sealed);
  return {
    status,
    bytes: Buffer.from(content.body ?? ""),
    mediaType: "application/json; charset=utf-8",
    headers: { ...content.headers, "idempotency-replayed": "true" },
  };
}

async function settle({ db, vault }: OnceDeps, claim: Claim, answer: Answer): Promise<void> {
  const sealed = await sealContent(vault, claim, {
    body: "body" in answer ? (JSON.stringify(answer.body) ?? null) : null,
    headers: answer.headers ?? {},
  });
  await sql`
    update idempotency set status = ${answer.status}, answer_sealed = ${sealed} where ${isOurs(claim)}`.execute(
    db.run,
  );
}

export const sealContent = (vault: Vault, place: Place, content: Content): Promise<Buffer> =>
  vault.seal(identity(place, "answer"), Buffer.from(JSON.stringify(content)));

async function openContent(vault: Vault, place: Place, sealed: Buffer): Promise<Content> {
  return JSON.parse((await vault.open(identity(place, "answer"), sealed)).toString("utf8"));
}

/** What is kept of an account's calls of these routes, since a time; `content` is null where nothing was answered yet. */
export async function listKept(
  { db, vault }: { db: Db; vault: Vault },
  owner: string,
  { routesLike, since }: { routesLike: string; since: Date },
): Promise<{ route: string; content: Content | null }[]> {
  const { rows } = await sql<{ route: string; key: string; answer_sealed: Buffer | null }>`
    select route, key, answer_sealed from idempotency
    where account_id = ${owner} and route like ${routesLike} and expires_at >= ${since}::timestamptz + interval '24 hours'`.execute(
    db,
  );
  return Promise.all(
    rows.map(async ({ route, key, answer_sealed: sealed }) => ({
      route,
      content: sealed === null ? null : await openContent(vault, { owner, route, key }, sealed),
    })),
  );
}

/** What is in effect stays known (B): the work may have been done although it threw, by a lost commit. */
async function free({ db }: OnceDeps, claim: Claim): Promise<void> {
  await sql`
    with kept as (update idempotency set held_until = now() where ${isOurs(claim)} and in_effect)
    delete from idempotency where ${isOurs(claim)} and not in_effect`.execute(db.run);
}
