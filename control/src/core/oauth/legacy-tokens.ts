// SPDX-License-Identifier: Apache-2.0
/**
 * Tokens of the legacy sign-in: JWTs with the claims that the original's older programs read (`sub` is
 * the user's UUID, `aud` is `user`), of our keys and over our sign-ins, so that they end as all others do.
 * They are told from access tokens by audience and header, and from each other by `typ`: none counts as another.
 */
import { randomBytes } from "node:crypto";
import { decodeProtectedHeader, importJWK, type JWTPayload, SignJWT } from "jose";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Database, Db } from "../../database/open.ts";
import type { Bearer, User } from "../identity/index.ts";
import { type TokenForm, verifyToken } from "./access-token.ts";
import type { SigningKeys } from "./keys.ts";

const FORM: Omit<TokenForm, "issuer"> = { audience: "user", header: "legacy+jwt" };
const ACCESS = "accessToken";
const REFRESH = "refreshToken";
const SHORT_S = 86_400;
const LONG_S = 30 * 86_400;
/** As a name of a client in `sign_ins`: no client has it. */
const CLIENT = "legacy";

export interface LegacyTokens {
  AccessToken: string;
  RefreshToken: string;
}

interface Deps {
  db: Database;
  keys: SigningKeys;
  issuer(): string;
  accessTokenS: number;
}

export interface LegacySignIns {
  begin(user: User, keep: boolean): Promise<LegacyTokens>;
  /** Throws 401; a token shown twice ends the sign-in. */
  renew(refreshToken: string, find: (id: string) => Promise<User | undefined>): Promise<LegacyTokens>;
  end(accessToken: string): Promise<void>;
  read(accessToken: string): Promise<Bearer>;
}

export function openLegacySignIns({ db, keys, issuer, accessTokenS }: Deps): LegacySignIns {
  const verify = (given: string, typ: string) => verifyToken(keys, { ...FORM, issuer: issuer() }, given, typ);
  const issue = async (user: User, sid: string, refreshS: number): Promise<LegacyTokens> => {
    const { signing, secret } = keys.current();
    const key = await importJWK(secret.find(({ kid }) => kid === signing)!, "RS256");
    const OrganisationUUID = await organizationOf(db.run, user.id);
    const make = (typ: string, seconds: number) =>
      new SignJWT({
        typ,
        sid,
        Email: user.email,
        OrganisationUUID,
        pwdTime: user.passwordAt,
        client_id: CLIENT,
      })
        .setProtectedHeader({ alg: "RS256", typ: FORM.header, kid: signing })
        .setIssuer(issuer())
        .setSubject(user.id)
        .setAudience(FORM.audience)
        .setJti(randomBytes(16).toString("base64url"))
        .setIssuedAt()
        .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
        .sign(key);
    return { AccessToken: await make(ACCESS, accessTokenS), RefreshToken: await make(REFRESH, refreshS) };
  };
  return {
    async begin(user, keep) {
      const sid = randomBytes(24).toString("base64url");
      const lifeS = keep ? LONG_S : SHORT_S;
      await sql`
        insert into sign_ins (sid, user_id, client_id, expires_at)
        values (${sid}, ${user.id}, ${CLIENT}, now() + make_interval(secs => ${lifeS}))`.execute(db.run);
      return issue(user, sid, lifeS);
    },
    async renew(given, find) {
      const claims = await verify(given, REFRESH);
      const { rows } = await sql<{ left_s: number | null; first: boolean }>`
        with used as (
          insert into revoked_tokens (jti, expires_at) values (${claims.jti}, to_timestamp(${claims.exp}))
          on conflict do nothing returning jti
        )
        select exists (select from used) as first, (select extract(epoch from expires_at - now())::int
          from sign_ins where sid = ${claims.sid} and user_id = ${claims.sub} and expires_at > now()) as left_s`.execute(
        db.run,
      );
      const { first, left_s: leftS } = rows[0]!;
      if (!first) await endSignIn(db.run, String(claims.sid));
      const user = first && leftS !== null ? await find(String(claims.sub)) : undefined;
      if (user === undefined || user.passwordAt !== claims.pwdTime) throw new Fault("identity.token");
      return issue(user, String(claims.sid), leftS!);
    },
    async end(accessToken) {
      await endSignIn(db.run, String((await verify(accessToken, ACCESS)).sid));
    },
    read: async (accessToken) => bearerOfLegacy(await verify(accessToken, ACCESS)),
  };
}

/** By its header alone; whether it is good, `read` finds out. */
export function isLegacyToken(given: string): boolean {
  try {
    return given.length < 4096 && decodeProtectedHeader(given).typ === FORM.header;
  } catch {
    return false;
  }
}

const endSignIn = (db: Db, sid: string) =>
  sql`delete from sign_ins where sid = ${sid} and client_id = ${CLIENT}`.execute(db);

function bearerOfLegacy({ sub, sid, pwdTime, jti }: JWTPayload): Bearer {
  if (typeof sid !== "string" || typeof pwdTime !== "number") throw new Fault("identity.token");
  return { kind: "user", id: sub!, jti: jti!, sid, passwordAt: pwdTime, scopes: null };
}

/** The one they have been in longest; of who is in none, themselves. */
export async function organizationOf(db: Db, user: string): Promise<string> {
  const { rows } = await sql<{ party_id: string }>`
    select m.party_id from members m join parties p on p.id = m.party_id
    where m.user_id = ${user} and p.kind = 'organization' and p.deleted_at is null
    order by m.created_at, m.party_id limit 1`.execute(db);
  return rows[0]?.party_id ?? user;
}
