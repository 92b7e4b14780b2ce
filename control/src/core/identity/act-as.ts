// SPDX-License-Identifier: Apache-2.0
/**
 * From what a token says to who acts, and for whom: one statement, on every call. Nothing of it is kept
 * between calls, so whoever is put out, loses a role or signs out everywhere is refused by the next one.
 *
 *  A. A token is believed for who it was given to. Whether that somebody still exists, still has this
 *     password, this sign-in, this client, and a place in the party acted for, the rows say.
 *  B. A party that is not there and one to which the caller is nobody are the same answer.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Db } from "../../database/open.ts";
import { type Account, isFull } from "./authenticate.ts";
import { type PartyKind, type Scope, scopesOf } from "./levels.ts";

/** What a token that was verified says of its bearer; of a service token, which says nothing, its hash. */
export type Bearer =
  | {
      kind: "user" | "client";
      /** The user's UUID, or the client's id. */
      id: string;
      jti: string;
      /** Of users: the sign-in it belongs to, and the instant of the password, in seconds. */
      sid: string | null;
      passwordAt: number | null;
      /** Null: not narrowed. */
      scopes: readonly string[] | null;
    }
  | { kind: "service"; hash: Buffer };

export interface ActAs {
  kind: PartyKind;
  id: string;
}

export interface Party {
  kind: PartyKind;
  id: string;
  name: string;
}

export interface Actor {
  kind: "user" | "client";
  /** The user's UUID, or the client's id. */
  id: string;
  /** The user's e-mail address, or the client's id: for people who read who did it. */
  name: string;
  /** Whose resources these are. */
  party: Party;
  /** What the actor may do in the party's name. */
  scopes: readonly Scope[];
  /** True: by a service token, which makes no other and changes nothing of its maker's. */
  service: boolean;
}

export interface Acting {
  actor: Actor;
  account: Account;
  /** Requests of this bearer in the current minute, this one included. */
  used: number;
  windowStart: Date;
  now: Date;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const KINDS: readonly string[] = ["user", "organization", "channel_partner"];

/** Both headers or neither. */
export function parseActAs(kind: unknown, id: unknown): ActAs | null {
  if (kind === undefined && id === undefined) return null;
  if (typeof kind !== "string" || typeof id !== "string")
    throw new Fault("request.invalid", {
      detail: "X-Act-As-Kind and X-Act-As-ID are given together or not at all",
    });
  if (!KINDS.includes(kind))
    throw new Fault("request.invalid", { detail: `X-Act-As-Kind is one of ${KINDS.join(", ")}` });
  if (!UUID.test(id)) throw new Fault("request.invalid", { detail: "X-Act-As-ID is a UUID" });
  return { kind: kind as PartyKind, id: id.toLowerCase() };
}

interface Row {
  actor_kind: "user" | "client";
  actor_id: string;
  name: string | null;
  narrowed: string[] | null;
  used: number;
  window_start: Date;
  now: Date;
  party_id: string | null;
  party_kind: PartyKind;
  party_name: string;
  self: boolean;
  role: string | null;
  through: { level: string; role: string }[] | null;
  account_id: string;
  email: string;
  jurisdiction: string;
  tier: string;
  cycle_start: Date;
  isolation: Account["isolation"];
}

/** Null: the token counts no more. Throws when the caller is nobody to the party asked for. */
export async function act(db: Db, bearer: Bearer, as: ActAs | null): Promise<Acting | null> {
  const row = await ask(db, bearer, as, true).catch((error) => {
    // As of keys: who may only read is let in uncounted.
    if (!isFull(error)) throw error;
    return ask(db, bearer, as, false);
  });
  if (row === undefined) return null;
  const scopes =
    row.party_id === null
      ? []
      : scopesOf({ kind: row.party_kind, self: row.self, role: row.role, through: row.through ?? [] });
  if (scopes.length === 0) throw new Fault("identity.not-a-member");
  const { narrowed } = row;
  return {
    actor: {
      kind: row.actor_kind,
      id: row.actor_id,
      name: row.name ?? row.actor_id,
      party: { kind: row.party_kind, id: row.party_id!, name: row.party_name },
      scopes: narrowed === null ? scopes : scopes.filter((scope) => narrowed.includes(scope)),
      service: bearer.kind === "service",
    },
    account: {
      id: row.account_id,
      email: row.email,
      jurisdiction: row.jurisdiction,
      tier: row.tier,
      cycleStart: row.cycle_start,
      isolation: row.isolation,
    },
    ...{ used: row.used, windowStart: row.window_start, now: row.now },
  };
}

/** One row of whoever counts still: who it is, the party that is theirs, and of a service token the one it is bound to. */
function bearerClause(bearer: Bearer) {
  if (bearer.kind === "service")
    return sql`
      select u.id as user_id, coalesce(u.id, c.party_id) as own_id, coalesce(u.email, c.client_id) as name,
        case when u.id is null then 'client' else 'user' end as actor_kind,
        coalesce(u.id::text, c.client_id) as actor_id, t.party_id as bound_id, t.scopes as narrowed
      from service_tokens t
      left join users u on u.id = case when t.created_by like 'user:%' then substr(t.created_by, 6)::uuid end
      left join oauth_clients c on t.created_by = 'client:' || c.client_id and c.revoked_at is null
      join parties p on p.id = coalesce(u.id, c.party_id) and p.deleted_at is null
      where t.hash = ${bearer.hash} and t.revoked_at is null and t.expires_at > now()`;
  const { kind, id, sid, passwordAt, jti, scopes } = bearer;
  const shown = sql`${kind}::text as actor_kind, ${id}::text as actor_id, null::uuid as bound_id,
    ${scopes}::text[] as narrowed`;
  const stands = sql`not exists (select from revoked_tokens where jti = ${jti})`;
  return kind === "user"
    ? sql`
      select u.id as user_id, u.id as own_id, u.email as name, ${shown} from users u join parties p on p.id = u.id
      where u.id = ${id} and p.deleted_at is null and ${stands}
        and extract(epoch from u.password_changed_at)::bigint = ${passwordAt ?? -1}
        and exists (select from sign_ins s where s.sid = ${sid} and s.user_id = u.id and s.expires_at > now())`
    : sql`
      select null::uuid as user_id, c.party_id as own_id, c.client_id as name, ${shown}
      from oauth_clients c join parties p on p.id = c.party_id
      where c.client_id = ${id} and c.revoked_at is null and p.deleted_at is null and ${stands}`;
}

const COUNTING = sql`
  insert into rate_windows (subject, window_start, used)
  select actor_kind || ':' || actor_id, date_trunc('minute', now()), 1 from bearer
  on conflict (subject, window_start) do update set used = rate_windows.used + 1
  returning used, window_start`;
const NOT_COUNTING = sql`select 0 as used, date_trunc('minute', now()) as window_start`;

async function ask(db: Db, bearer: Bearer, as: ActAs | null, counts: boolean): Promise<Row | undefined> {
  const wanted =
    as === null
      ? sql`p.id = coalesce(b.bound_id, b.own_id)`
      : sql`p.id = ${as.id} and p.kind = ${as.kind} and p.id = coalesce(b.bound_id, p.id)`;
  const { rows } = await sql<Row>`
    with bearer as (${bearerClause(bearer)}), counted as (${counts ? COUNTING : NOT_COUNTING})
    select b.actor_kind, b.actor_id, b.name, b.narrowed, c.used, c.window_start, now() as now,
      p.id as party_id, p.kind as party_kind, p.name as party_name, p.id = b.own_id as self,
      (select role from members m where m.party_id = p.id and m.user_id = b.user_id) as role,
      (select json_agg(json_build_object('level', g.level, 'role', coalesce(m.role, 'administrator')))
        from partner_access g
        join parties partner on partner.id = g.partner_id and partner.deleted_at is null
        left join members m on m.party_id = g.partner_id and m.user_id = b.user_id
        where g.organization_id = p.id and (m.user_id is not null or g.partner_id = b.own_id)) as through,
      a.id as account_id, a.email, a.jurisdiction, a.tier, a.cycle_start, a.isolation
    from bearer b cross join counted c
    left join parties p on ${wanted} and p.deleted_at is null
    left join accounts a on a.id = p.account_id`.execute(db);
  return rows[0];
}
