// SPDX-License-Identifier: Apache-2.0
/**
 * Who is calling, and are they calling too often: one statement, because the create path is bound by
 * round trips. The count is written with asynchronous commit; see rate_windows in the migration.
 *
 * The key is looked up by the SHA-256 of what was sent. An attacker who times the index learns about
 * digests of their own guesses, not about stored keys; the constant-time compare beside it costs
 * nothing and keeps that true if the lookup ever changes.
 */
import { hash, timingSafeEqual } from "node:crypto";
import { CompiledQuery, sql } from "kysely";
import { gatherFor } from "../../database/gather.ts";
import type { Db } from "../../database/open.ts";

export interface Principal {
  keyId: string;
  keyPrefix: string;
  scopes: string[];
  surface: string;
  /** null: the operator, a host, or an edge server. */
  account: Account | null;
  /** Set: the key is this host's own. */
  hostId: string | null;
  /** Set: the key is this edge server's own. */
  serverId: string | null;
  /** Set: the key is this instance's own, of the account. */
  instanceId: string | null;
}

export interface Account {
  id: string;
  email: string;
  jurisdiction: string;
  tier: string;
  cycleStart: Date;
  /** The least that its workloads may run in; null: the installation's standard. */
  isolation: "container" | "vm" | "vm-vtpm" | "vm-snp" | "vm-tdx" | null;
}

export interface Recognised {
  principal: Principal;
  /** Requests of this key in the current minute, this one included. */
  used: number;
  windowStart: Date;
  /** The database's clock; the only one that decides leases and cycles. */
  now: Date;
}

const KEY_FORM = /^[A-Za-z0-9_-]{16,128}$/;

export async function authenticate(db: Db, presented: string): Promise<Recognised | null> {
  if (!KEY_FORM.test(presented)) return null;
  const digest = hash("sha256", presented, "binary");
  const found = await find(db, digest);
  if (found === null || !timingSafeEqual(found.row.hash, Buffer.from(digest, "latin1"))) return null;
  const { row, used } = found;
  return {
    principal: {
      keyId: row.key_id,
      keyPrefix: row.prefix,
      scopes: row.scopes,
      surface: row.surface,
      hostId: row.host_id,
      serverId: row.server_id,
      instanceId: row.instance_id,
      account:
        row.account_id === null
          ? null
          : {
              id: row.account_id,
              email: row.email,
              jurisdiction: row.jurisdiction,
              tier: row.tier,
              cycleStart: row.cycle_start,
              isolation: row.isolation,
            },
    },
    used,
    windowStart: row.window_start,
    now: row.now,
  };
}

/**
 * On a full disk nobody can be counted, and who may only read is let in uncounted: a limit that ended
 * all reading would be the worse failure. What adds rows fails at its own statement.
 */
export const isFull = (error: unknown): boolean => (error as { code?: string }).code === "53100";

/**
 * Calls that come at once are looked up at once, and each is told its own place in its key's count. They
 * are asked for by the digest with a character for each byte, which is made, and found in a map, for less
 * than a buffer.
 */
const find = gatherFor(async (db: Db, digests: string[]): Promise<({ row: Row; used: number } | null)[]> => {
  const calls = new Map<string, number>();
  for (const digest of digests) calls.set(digest, (calls.get(digest) ?? 0) + 1);
  const rows = await findAll(db, calls, FIND.counting).catch((error) => {
    if (!isFull(error)) throw error;
    return findAll(db, calls, FIND.notCounting);
  });
  const found = new Map(rows.map((row) => [row.hash.toString("latin1"), row]));
  return digests.map((digest) => {
    const row = found.get(digest);
    if (row === undefined) return null;
    const left = calls.get(digest)! - 1;
    calls.set(digest, left);
    return { row, used: row.used - left };
  });
});

/** In the order of the keys' ids, so that two processes that count the same keys take turns. */
const COUNTING = `
  insert into rate_windows (subject, window_start, used)
  select 'key:' || id, date_trunc('minute', now()), calls from found order by id
  on conflict (subject, window_start) do update set used = rate_windows.used + excluded.used
  returning subject, used, window_start`;
const NOT_COUNTING = `
  select 'key:' || id as subject, 0 as used, date_trunc('minute', now()) as window_start from found`;

/** Texts that are asked on every call are whole ones: putting one together costs as much as reading the answer. */
const finding = (counted: string): string => `
  with asked as (
    select * from unnest($1::bytea[], $2::int[]) as asked (asked_hash, calls)
  ), found as (
    select id, account_id, host_id, server_id, instance_id, surface, prefix, hash, scopes, calls from asked join api_keys on hash = asked_hash
    where revoked_at is null and (expires_at is null or expires_at > now())
  ), counted as (${counted})
  select f.id as key_id, f.host_id, f.server_id, f.instance_id, f.surface, f.prefix, f.hash, f.scopes, c.used, c.window_start, now() as now,
         a.id as account_id, a.email, a.jurisdiction, a.tier, a.cycle_start, a.isolation
  from found f join counted c on c.subject = 'key:' || f.id left join accounts a on a.id = f.account_id`;
const FIND = { counting: finding(COUNTING), notCounting: finding(NOT_COUNTING) };

async function findAll(db: Db, calls: ReadonlyMap<string, number>, text: string): Promise<Row[]> {
  const hashes = [...calls.keys()].map((each) => Buffer.from(each, "latin1"));
  const { rows } = await db.executeQuery<Row>(CompiledQuery.raw(text, [hashes, [...calls.values()]]));
  return rows;
}

interface Row {
  key_id: string;
  host_id: string | null;
  server_id: string | null;
  instance_id: string | null;
  surface: string;
  prefix: string;
  hash: Buffer;
  scopes: string[];
  used: number;
  window_start: Date;
  now: Date;
  account_id: string | null;
  email: string;
  jurisdiction: string;
  tier: string;
  cycle_start: Date;
  isolation: Account["isolation"];
}

/** Counts a call of an address; returns how many it made in this minute. */
export async function countAddress(
  db: Db,
  what: string,
  address: string,
): Promise<{ used: number; windowStart: Date; now: Date }> {
  const { rows } = await sql<{ used: number; window_start: Date; now: Date }>`
    insert into rate_windows (subject, window_start, used)
    values (${`ip:${what}:${blockOf(address)}`}, date_trunc('minute', now()), 1)
    on conflict (subject, window_start) do update set used = rate_windows.used + 1
    returning used, window_start, now() as now`
    .execute(db)
    .catch((error) => {
      if (!isFull(error)) throw error;
      const now = new Date();
      return { rows: [{ used: 0, window_start: now, now }] };
    });
  const row = rows[0]!;
  return { used: row.used, windowStart: row.window_start, now: row.now };
}

/** One subscriber line usually owns an IPv6 /64; counting single addresses would be no limit at all. */
export function blockOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped) return mapped[1]!;
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("%")[0]!.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const all =
    tail === undefined ? left : [...left, ...Array(8 - left.length - right.length).fill("0"), ...right];
  return `${all
    .slice(0, 4)
    .map((part) => part.toLowerCase().replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}
