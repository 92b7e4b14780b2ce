// SPDX-License-Identifier: Apache-2.0
/**
 * Who is a host: let in once by a word from the operator, told to take nothing new, put out for good.
 *
 *  A. An invitation lets one host in, once, before its time is over. It is kept as SHA-256, and used in
 *     the statement that records the host, so two who hold the same word do not both come in. The same
 *     host may repeat its own joining, since its answer may have been lost, until it has come: then the
 *     answer was there, and whoever repeats it has found the word.
 *  B. A host is its public key at the broker, which it proves here and there, and its own key over HTTP. Control
 *     keeps neither secret. A known id is never given to another key: whoever holds an invitation could
 *     otherwise become a host that has machines. Nor is one let in whose id begins as another's does: hosts
 *     are named by that beginning (`….metal.<zone>`), customers' own domains lead there, and whoever shares
 *     the name gets their visitors, and certificates for them.
 *  C. A host that was put out never comes back under its id. Every replica is told at once, and each asks
 *     the row whenever a host joins. One that missed the word, or heard it while the host was just coming
 *     in, looks again every few seconds.
 */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { isUserKey } from "#link/nats/access.ts";
import { isSignedJoining, type Joining } from "#link/nats/joining.ts";
import type { Db } from "../../database/open.ts";
import { hashKey, makeId, makeKey, shownPrefix } from "../identity/index.ts";

const INVITATION_PREFIX = "cm_join_";
const HOST_PREFIX = "cm_host_";
/** Of a host that has not come yet. */
const ABSENT_VERSION = "0.0.0";

/** NOTIFY with a host's id: it takes nothing new, or takes again, or was put out. */
export const HOSTS_CHANNEL = "casemate_hosts";

export interface Invitation {
  id: string;
  token: string;
  expiresAt: Date;
}

export async function inviteHost(db: Db, ask: { name: string; lifetimeS: number }): Promise<Invitation> {
  const token = makeKey(INVITATION_PREFIX);
  const { rows } = await sql<{ id: string; expires_at: Date }>`
    insert into host_invitations (id, hash, name, expires_at)
    values (${makeId("inv")}, ${hashKey(token)}, ${ask.name}, now() + make_interval(secs => ${ask.lifetimeS}::int))
    returning id, expires_at`.execute(db);
  return { id: rows[0]!.id, token, expiresAt: rows[0]!.expires_at };
}

/** The host's own key for HTTP, shown once; a repeated joining gets a new one in place of the last. */
export async function admitHost(
  db: Db,
  { signature, ...joining }: Joining & { signature: string },
): Promise<{ key: string }> {
  const { token, hostId, publicKey } = joining;
  if (!isUserKey(publicKey))
    throw new Fault("request.invalid", { detail: "public_key: not the public key of a user" });
  if (!isSignedJoining(joining, signature))
    throw new Fault("request.invalid", { detail: "signature: not one of this public_key for this joining" });
  const key = makeKey(HOST_PREFIX);
  const { rows } = await sql<{ joined: boolean }>`
    with word as (
      update host_invitations set used_at = coalesce(used_at, now()), host_id = ${hostId}
      where hash = ${hashKey(token)} and expires_at > now() and (used_at is null or host_id = ${hostId}
          and exists (select from hosts where id = ${hostId} and facts->>'version' = ${ABSENT_VERSION}))
        -- B, and whoever was put out stays out (C).
        and not exists (select from hosts where id = ${hostId}
          and (public_key is distinct from ${publicKey} or revoked_at is not null))
        and not exists (select from hosts where starts_with(id, ${nameStart(hostId)}) and id <> ${hostId})
      returning name
    ), host as (
      insert into hosts (id, facts, name, public_key)
      select ${hostId}, ${JSON.stringify(absent(hostId))}::jsonb, name, ${publicKey} from word
      -- B and C again, of the row as it is by now: another word may let it in, or it be put out, meanwhile.
      on conflict (id) do update set public_key = excluded.public_key
        where hosts.public_key = excluded.public_key and hosts.revoked_at is null
      returning id
    ), before as (
      update api_keys set revoked_at = now() from host where host_id = host.id and revoked_at is null
    ), key as (
      insert into api_keys (id, account_id, surface, prefix, hash, scopes, host_id)
      select ${makeId("key")}, null, 'hosts', ${shownPrefix(key, HOST_PREFIX)}, ${hashKey(key)}, array['hosts:own'], id
      from host
    )
    select exists (select from host) as joined, pg_notify(${HOSTS_CHANNEL}, '')`
    .execute(db)
    .catch((error) => {
      // Two who present one word at once for different hosts, or one key for two hosts.
      if ((error as { code?: string }).code === "23505") throw new Fault("host.invitation");
      throw error;
    });
  if (!rows[0]!.joined) throw new Fault("host.invitation");
  return { key };
}

/** `host_` and the eight digits that are its name in the zone (core/ingress/addresses-of-names.ts). */
const nameStart = (hostId: string): string => hostId.slice(0, 13);

/** What is known of a host that was let in and has not come yet. */
const absent = (hostId: string) => ({
  ...{ hostId, version: ABSENT_VERSION, bootId: "", cpus: 0, memoryMiB: 0 },
  ...{ drivers: [], issuers: [], engines: {} },
});

/** From now on nothing new comes to it; what it has goes on, or, when it is to be emptied, goes elsewhere. */
export async function drainHost(db: Db, hostId: string, emptying: boolean): Promise<void> {
  await change(db, hostId, sql`draining_at = coalesce(draining_at, now()), emptying = ${emptying}`);
}

export async function resumeHost(db: Db, hostId: string): Promise<void> {
  await change(db, hostId, sql`draining_at = null, emptying = false`);
}

async function change(db: Db, hostId: string, set: RawBuilder<unknown>): Promise<void> {
  const { rows } = await sql`
    with host as (update hosts set ${set} where id = ${hostId} and revoked_at is null returning id)
    select pg_notify(${HOSTS_CHANNEL}, id) from host`.execute(db);
  if (rows.length === 0) throw new Fault("host.not-found");
}

/** Nothing of it counts any more (C). Repeating it changes nothing. */
export async function putOut(db: Db, hostId: string): Promise<void> {
  const { rows } = await sql`
    with host as (
      update hosts set revoked_at = coalesce(revoked_at, now()) where id = ${hostId} returning id
    ), leavings as (
      delete from machine_leavings using host where host_id = host.id
    ), keys as (
      update api_keys set revoked_at = now() from host where host_id = host.id and revoked_at is null
    )
    select pg_notify(${HOSTS_CHANNEL}, id) from host`.execute(db);
  if (rows.length === 0) throw new Fault("host.not-found");
}

/** Of these hosts, those that were put out. */
export async function listPutOut(db: Db, hostIds: readonly string[]): Promise<string[]> {
  if (hostIds.length === 0) return [];
  const { rows } = await sql<{ id: string }>`
    select id from hosts where id = any(${hostIds}::text[]) and revoked_at is not null`.execute(db);
  return rows.map(({ id }) => id);
}

/** Those that take nothing new. */
export async function listClosed(db: Db): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from hosts where draining_at is not null or revoked_at is not null`.execute(db);
  return rows.map(({ id }) => id);
}

/** Those that may enter the broker. */
export async function listMembers(db: Db): Promise<{ hostId: string; publicKey: string }[]> {
  const { rows } = await sql<{ hostId: string; publicKey: string }>`
    select id as "hostId", public_key as "publicKey" from hosts
    where public_key is not null and revoked_at is null order by id`.execute(db);
  return rows;
}

/** Hosts that are to have nothing any more, and still have something: all that were put out, of the others those in `held`. */
export async function listToEmpty(db: Db, held: readonly string[]): Promise<{ id: string; gone: boolean }[]> {
  const { rows } = await sql<{ id: string; gone: boolean }>`
    select id, revoked_at is not null as gone from hosts h
    where (revoked_at is not null or emptying and id = any(${held}::text[]))
      and exists (select from machines m where m.host_id = h.id and m.state not in ('ended', 'failed')
        and (h.revoked_at is not null or m.spec ? 'kept' and m.want <> 'down'))`.execute(db);
  return rows;
}

export interface Member {
  id: string;
  name: string;
  version: string;
  isolations: string[];
  member: boolean;
  draining: boolean;
  emptying: boolean;
  revoked_at: Date | null;
  machines: number;
  last_seen: Date;
  created_at: Date;
}

/** Oldest first. */
export async function listHosts(db: Db): Promise<Member[]> {
  const { rows } = await sql<Member>`
    select id, name, facts->>'version' as version, public_key is not null as member, draining_at is not null as draining,
      emptying, revoked_at, last_seen, created_at,
      array(select d->>'isolation' from jsonb_array_elements(facts->'drivers') d where (d->>'ready')::boolean) as isolations,
      (select count(*) from machines m where (m.host_id = h.id or m.disk_host_id = h.id) and m.state not in ('ended', 'failed')) as machines
    from hosts h order by created_at, id`.execute(db);
  return rows;
}
