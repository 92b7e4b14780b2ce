// SPDX-License-Identifier: Apache-2.0
/**
 * How a server comes into a site.
 *
 *  A. A registration token lets in as many servers as it says, before its time is over, at its own site.
 *     Of a wrong one it is not said what is wrong with it. Kept as SHA-256.
 *  B. A server is its key, which is shown to it once. An id that was given to a server is never given to
 *     another: whoever holds a token would otherwise become a server that is there. The answer may have
 *     been lost, though: until a server was heard of, it is given a new key in place of the last.
 *  C. Who asks without a token is anybody. What they say is kept for a quarter of an hour, and whether the
 *     site exists is not said. A person types the code that the server shows; codes are not listed, so a
 *     stranger who asks cannot be let in by a click on the wrong line.
 */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type * as contract from "#contract/devices/enrolment.ts";
import { Fault } from "#contract/errors.ts";
import { hashKey, makeId, makeKey, shownPrefix } from "../../core/identity/index.ts";
import { append } from "../../core/journal/index.ts";
import type { Tx } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { DevicesDeps } from "./deps.ts";
import { requireServer, requireSite } from "./rows.ts";
import { gone, viewServer } from "./view.ts";

type Needs = Pick<DevicesDeps, "db">;

const TOKEN_PREFIX = "cm_site_";
const SERVER_PREFIX = "cm_edge_";
const CLAIM_PREFIX = "cm_claim_";
const TOKEN_LIFETIME_S = 86_400;
const CLAIM_LIFETIME_S = 900;
/** No vowels, so no words; nothing that is read as something else. */
const LETTERS = "BCDFGHJKLMNPQRSTVWXZ";
const CODE_LENGTH = 8;

interface TokenRow {
  id: string;
  site_id: string;
  prefix: string;
  max_uses: number;
  used: number;
  expires_at: Date;
  created_at: Date;
  records: number;
}

export async function createToken({ db }: Needs, call: Call<typeof contract.createToken>): Promise<Answer> {
  const { SystemId, MaxUses = 1, LifetimeSeconds, ExpiresAt } = call.body;
  const { party, id: by } = call.actor;
  const site = await requireSite(db.run, party.id, SystemId);
  const until =
    ExpiresAt === undefined
      ? sql`now() + make_interval(secs => ${LifetimeSeconds ?? TOKEN_LIFETIME_S}::int)`
      : sql`${ExpiresAt}::timestamptz`;
  const token = makeKey(TOKEN_PREFIX);
  const id = randomUUID();
  const row = await db.write(async (tx) => {
    const { rows } = await sql<TokenRow>`
      insert into site_tokens (id, site_id, hash, prefix, max_uses, expires_at, created_by)
      values (${id}, ${site.id}, ${hashKey(token)}, ${shownPrefix(token, TOKEN_PREFIX)}, ${MaxUses}, ${until}, ${by})
      returning *`.execute(tx);
    const payload = { by, token: id, max_uses: MaxUses };
    await append(tx, { account: call.account.id, type: "site.token_created", subject: site.id, payload });
    return rows[0]!;
  });
  return { status: 201, body: { ...viewToken(row), Token: token } };
}

export async function listTokens({ db }: Needs, call: Call<typeof contract.listTokens>): Promise<Answer> {
  const page = pageOf(call.query, { CreatedAt: "t.created_at" }, "-CreatedAt", "t.id");
  const { SystemId } = call.query;
  const { rows } = await sql<TokenRow>`
    select t.*, (count(*) over ())::int as records from site_tokens t join sites s on s.id = t.site_id
    where s.party_id = ${call.actor.party.id} and (${SystemId ?? null}::uuid is null or s.id = ${SystemId ?? null}::uuid)
      and t.revoked_at is null and t.expires_at > now() and t.used < t.max_uses
    order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(db.soft);
  return paged(rows.map(viewToken), rows[0]?.records ?? 0);
}

export async function deleteToken({ db }: Needs, call: Call<typeof contract.deleteToken>): Promise<Answer> {
  const { party, id: by } = call.actor;
  await db.write(async (tx) => {
    const { rows } = await sql<{ site_id: string }>`
      update site_tokens t set revoked_at = coalesce(t.revoked_at, now()) from sites s
      where t.id = ${call.params.id} and s.id = t.site_id and s.party_id = ${party.id} returning t.site_id`.execute(
      tx,
    );
    if (rows.length === 0) throw new Fault("registration.not-found", { uuid: call.params.id });
    const payload = { by, token: call.params.id };
    const entry = { account: call.account.id, type: "site.token_revoked", subject: rows[0]!.site_id };
    await append(tx, { ...entry, payload });
  });
  return gone(call.params.id);
}

const viewToken = (row: TokenRow) => ({
  ID: row.id,
  SystemId: row.site_id,
  Prefix: row.prefix,
  MaxUses: row.max_uses,
  Used: row.used,
  ExpiresAt: row.expires_at.toISOString(),
  CreatedAt: row.created_at.toISOString(),
});

export async function register({ db }: Needs, call: Call<typeof contract.register>): Promise<Answer> {
  const { ServerId, SystemId, RegistrationToken, Name = "Server", Source = null } = call.body;
  const asking = { id: ServerId.toLowerCase(), name: Name };
  if (RegistrationToken !== undefined)
    return db.write(async (tx) => {
      const word = await useToken(tx, RegistrationToken, asking.id, SystemId ?? null);
      const key = await admit(tx, { ...asking, ...word });
      return { status: 201, body: { ServerId: asking.id, SystemId: word.site, Key: key } };
    });
  if (SystemId === undefined)
    throw new Fault("request.invalid", {
      field: "SystemId",
      detail: "SystemId: is missing, and there is no RegistrationToken",
    });
  const server = { ...asking, site: SystemId.toLowerCase() };
  const secret = makeKey(CLAIM_PREFIX);
  const code = makeCode();
  const { rows } = await sql<{ expires_at: Date }>`
    with old as (delete from server_claims where expires_at < now())
    insert into server_claims (poll_hash, code, server_id, site_id, source, expires_at)
    values (${hashKey(secret)}, ${code}, ${server.id}, ${server.site}, ${JSON.stringify(Source)}::jsonb,
      date_trunc('milliseconds', now()) + make_interval(secs => ${CLAIM_LIFETIME_S}::int))
    returning expires_at`.execute(db.run);
  return {
    status: 202,
    body: {
      ServerId: server.id,
      Code: `${code.slice(0, CODE_LENGTH / 2)}-${code.slice(CODE_LENGTH / 2)}`,
      PollURL: `/dev/plugin/claim/${secret}`,
      ExpiresAt: rows[0]!.expires_at.toISOString(),
    },
  };
}

interface Asking {
  id: string;
  site: string;
  name: string;
}

/** A. Who repeats a registration whose answer was lost does not use it again. */
export async function useToken(
  tx: Tx,
  token: string,
  server: string,
  site: string | null,
  party: string | null = null,
): Promise<{ site: string; admittedBy: string }> {
  const { rows } = await sql<{ id: string; site_id: string }>`
    with word as (
      select t.id, t.site_id, t.used < t.max_uses as more, exists (
          select from servers sv where sv.id = ${server} and sv.admitted_by = t.id::text and sv.last_seen is null) as again
      from site_tokens t join sites s on s.id = t.site_id join parties p on p.id = s.party_id
      where t.hash = ${hashKey(token)} and t.site_id = coalesce(${site}::uuid, t.site_id) and t.expires_at > now() and t.revoked_at is null
        and p.deleted_at is null and p.id = coalesce(${party}::uuid, p.id)
      for update of t
    ), counted as (
      update site_tokens t set used = used + 1 from word where t.id = word.id and word.more and not word.again
    )
    select id, site_id from word where more or again`.execute(tx);
  if (rows.length === 0) throw new Fault("registration.refused");
  return { site: rows[0]!.site_id, admittedBy: rows[0]!.id };
}

/** The server's key (B). A server is locked before its site (tell.ts), which may not go meanwhile. */
export async function admit(
  tx: Tx,
  { id, site, name, admittedBy }: Asking & { admittedBy: string },
): Promise<string> {
  await sql`select from servers where id = ${id} for update`.execute(tx);
  const { rows: owner } = await sql<{ account_id: string }>`
    select p.account_id from sites s join parties p on p.id = s.party_id where s.id = ${site} for share of s`.execute(
    tx,
  );
  if (owner.length === 0) throw new Fault("registration.refused");
  const { rows } = await sql<{ fresh: boolean }>`
    insert into servers as sv (id, site_id, name, admitted_by) values (${id}, ${site}, ${name}, ${admittedBy})
    on conflict (id) do update set name = excluded.name
      where sv.site_id = excluded.site_id and sv.admitted_by = excluded.admitted_by and sv.last_seen is null
    returning xmax = 0 as fresh`.execute(tx);
  if (rows.length === 0) throw new Fault("server.exists", { uuid: id });
  const key = makeKey(SERVER_PREFIX);
  await sql`
    with before as (update api_keys set revoked_at = now() where server_id = ${id} and revoked_at is null)
    insert into api_keys (id, account_id, surface, prefix, hash, scopes, server_id)
    values (${makeId("key")}, null, 'devices', ${shownPrefix(key, SERVER_PREFIX)}, ${hashKey(key)},
      array['devices:own'], ${id})`.execute(tx);
  if (rows[0]!.fresh) {
    const payload = { by: admittedBy, server: id };
    await append(tx, { account: owner[0]!.account_id, type: "site.server_added", subject: site, payload });
  }
  return key;
}

export async function listClaims({ db }: Needs, call: Call<typeof contract.listClaims>): Promise<Answer> {
  const site = await requireSite(db.soft, call.actor.party.id, call.params.id);
  const page = pageOf(call.query, { ExpiresAt: "expires_at" }, "ExpiresAt", "poll_hash");
  const { rows } = await sql<{ server_id: string; source: object | null; expires_at: Date; records: number }>`
    select server_id, source, expires_at, (count(*) over ())::int as records from server_claims
    where site_id = ${site.id} and state = 'waiting' and expires_at > now()
    order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(db.soft);
  const body = rows.map((row) => ({
    ServerId: row.server_id,
    Source: row.source,
    ExpiresAt: row.expires_at.toISOString(),
  }));
  return paged(body, rows[0]?.records ?? 0);
}

export async function approve({ db }: Needs, call: Call<typeof contract.approveClaim>): Promise<Answer> {
  const { party, id: by } = call.actor;
  const site = await requireSite(db.run, party.id, call.params.id);
  const code = call.body.Code.toUpperCase().replaceAll(/[^A-Z]/g, "");
  const server = await db.write(async (tx) => {
    const { rows } = await sql<{ server_id: string }>`
      update server_claims set state = 'approved'
      where site_id = ${site.id} and code = ${code} and state = 'waiting' and expires_at > now()
      returning server_id`.execute(tx);
    if (rows.length === 0) throw new Fault("registration.not-found");
    const id = rows[0]!.server_id;
    // Its key is made when the server comes for it, and nobody has this one.
    await admit(tx, { id, site: site.id, name: call.body.Name ?? "Server", admittedBy: by });
    return id;
  });
  return { status: 200, body: viewServer(await requireServer(db.run, party.id, server)) };
}

/** The answer may have been lost, so the key is given again until the server was heard of (B). */
export async function poll({ db }: Needs, call: Call<typeof contract.pollClaim>): Promise<Answer> {
  return db.write(async (tx) => {
    const { rows } = await sql<{ server_id: string; site_id: string; state: string }>`
      select server_id, site_id, state from server_claims
      where poll_hash = ${hashKey(call.params.secret)} and expires_at > now() for update`.execute(tx);
    const claim = rows[0];
    if (claim === undefined) throw new Fault("registration.not-found");
    if (claim.state === "waiting") return { status: 202, body: { Message: "Nobody has said yes yet." } };
    const { rows: servers } = await sql<{ name: string; admitted_by: string }>`
      select name, admitted_by from servers where id = ${claim.server_id} and site_id = ${claim.site_id}`.execute(
      tx,
    );
    if (servers.length === 0) throw new Fault("registration.not-found");
    const { name, admitted_by: admittedBy } = servers[0]!;
    const key = await admit(tx, { id: claim.server_id, site: claim.site_id, name, admittedBy });
    return { status: 200, body: { ServerId: claim.server_id, SystemId: claim.site_id, Key: key } };
  });
}

/** Uniform: of a byte only what divides evenly counts. */
function makeCode(): string {
  let code = "";
  while (code.length < CODE_LENGTH)
    for (const byte of hashKey(makeKey("")))
      if (byte < 240 && code.length < CODE_LENGTH) code += LETTERS[byte % LETTERS.length];
  return code;
}
