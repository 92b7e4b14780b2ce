// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { importJWK, SignJWT } from "jose";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ClonedDatabase, cloneDatabase } from "#testing/clone-database.ts";
import { type Database, openDatabase } from "../../database/open.ts";
import { openKeyRing, openVault, type Vault } from "../vault/index.ts";
import { openSigningKeys, readAccessToken, type SigningKeys } from "./index.ts";
import { Records } from "./records.ts";

let cloned: ClonedDatabase;
let db: Database;
let vault: Vault;
let keys: SigningKeys;
const folder = mkdtempSync(join(tmpdir(), "casemate-oauth-"));
const ISSUER = "https://api.example.com";
const unexpected = (error: unknown) => {
  throw error;
};
beforeAll(async () => {
  cloned = await cloneDatabase();
  db = await openDatabase({ connection: { ...cloned }, poolMax: 6, onError: () => {} });
  vault = openVault(db.run, await openKeyRing(join(folder, "kek")));
  keys = await openSigningKeys(db, vault, unexpected);
});
afterAll(async () => {
  await keys.close();
  await db.close();
  await cloned[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const GOOD = { typ: "accessToken", sub: "oc_1", client_id: "oc_1", jti: "j", iss: ISSUER, aud: ISSUER };
async function signed(change: Record<string, unknown> = {}, header: Record<string, string> = {}, ageS = 0) {
  const [key] = keys.current().secret;
  const { exp = Math.floor(Date.now() / 1000) + 600, ...claims } = { ...GOOD, ...change } as Record<
    string,
    unknown
  >;
  const token = new SignJWT(JSON.parse(JSON.stringify(claims)))
    .setProtectedHeader({ alg: "RS256", typ: "at+jwt", kid: key!.kid!, ...header })
    .setIssuedAt(Math.floor(Date.now() / 1000) - ageS);
  if (exp !== null) token.setExpirationTime(exp as number);
  return token.sign(await importJWK({ ...key!, alg: header.alg ?? "RS256" }));
}
const read = (token: string) => readAccessToken(keys, ISSUER, token);

describe("a token that our own key signed", () => {
  it("counts when it is what it must be", async () => {
    expect(await read(await signed())).toMatchObject({ kind: "client", id: "oc_1" });
    const user = { sub: "ada@example.com", uid: "u", sid: "s", pwdTime: 7 };
    expect(await read(await signed(user))).toMatchObject({ kind: "user", id: "u", sid: "s", passwordAt: 7 });
  });

  it.each([
    ["a refresh token by its type", { typ: "refreshToken" }, {}],
    ["no type", { typ: undefined }, {}],
    ["an identity token by its header", {}, { typ: "JWT" }],
    ["another issuer", { iss: "https://other.example" }, {}],
    ["another audience", { aud: "https://other.example" }, {}],
    ["no audience", { aud: undefined }, {}],
    ["over", { exp: Math.floor(Date.now() / 1000) - 60 }, {}],
    ["without an end", { exp: null }, {}],
    ["without a name of its own", { jti: undefined }, {}],
    ["PS256, which this key could do too", {}, { alg: "PS256" }],
    ["a client that speaks for another", { sub: "oc_2" }, {}],
    ["a user without a sign-in", { uid: "u", pwdTime: 7 }, {}],
    ["a user without the instant of a password", { uid: "u", sid: "s" }, {}],
  ] as [string, Record<string, unknown>, Record<string, string>][])(
    "does not count: %s",
    async (_what, change, header) => {
      await expect(read(await signed(change, header))).rejects.toMatchObject({ code: "identity.token" });
    },
  );
});

describe("records", () => {
  it("of many that consume one at once let one go on, and take back what was given", async () => {
    const codes = new Records("AuthorizationCode", db, vault);
    await codes.upsert("code", { grantId: "grant", kind: "AuthorizationCode" }, 60);
    const tries = await Promise.allSettled(Array.from({ length: 6 }, () => codes.consume("code")));
    expect(tries.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(await codes.find("code")).toBeUndefined();
  });

  it("show nothing of themselves to a thief of the table, and cannot be passed off as another's", async () => {
    const tokens = new Records("RefreshToken", db, vault);
    await tokens.upsert("shown-to-the-client", { accountId: undefined, scope: "a secret scope" }, 60);
    await tokens.upsert("mine", { scope: "mine" }, 60);
    const { rows } = await sql<{ all: string }>`select json_agg(r)::text as all from oauth_records r`.execute(
      db.run,
    );
    expect(rows[0]!.all).not.toContain("shown-to-the-client");
    expect(rows[0]!.all).not.toContain("secret scope");
    await sql`
      update oauth_records set sealed = (select sealed from oauth_records where id_hash = sha256('shown-to-the-client'))
      where id_hash = sha256('mine')`.execute(db.run);
    await expect(tokens.find("mine")).rejects.toThrow();
  });

  it("that are over are not found", async () => {
    const tokens = new Records("RefreshToken", db, vault);
    await tokens.upsert("old", { scope: "x" }, 60);
    await sql`update oauth_records set expires_at = now() where id_hash = sha256('old')`.execute(db.run);
    expect(await tokens.find("old")).toBeUndefined();
  });
});

describe("rotation", () => {
  it("publishes a key before it signs, and keeps the one before while what it signed may count", async () => {
    const before = keys.current();
    const token = await signed();
    const made = await keys.rotate();
    const after = keys.current();
    expect(after.signing).toBe(before.signing);
    expect([...after.published.keys()].sort()).toEqual([before.signing, made].sort());

    const replica = await openSigningKeys(db, vault, unexpected);
    await sql`update oauth_keys set signs_from = now() where kid = ${made}`.execute(db.run);
    const later = await openSigningKeys(db, vault, unexpected);
    expect(later.current().signing).toBe(made);
    expect(later.current().secret[0]!.kid).toBe(made);
    expect(await readAccessToken(later, ISSUER, token)).toMatchObject({ id: "oc_1" });
    // And nobody has it for ever.
    await sql`update oauth_keys set retired_at = now() where kid = ${before.signing}`.execute(db.run);
    const last = await openSigningKeys(db, vault, unexpected);
    await expect(readAccessToken(last, ISSUER, token)).rejects.toMatchObject({ code: "identity.token" });
    await Promise.all([replica, later, last].map((each) => each.close()));
  });

  it("of replicas that start at once makes one first key", async () => {
    // A database of its own: whoever follows these rows while there are none rightly says so.
    await using empty = await cloneDatabase();
    const replicas = await openDatabase({ connection: { ...empty }, poolMax: 6, onError: () => {} });
    const started = await Promise.all(
      Array.from({ length: 4 }, () => openSigningKeys(replicas, vault, unexpected)),
    );
    expect(new Set(started.map((each) => each.current().signing)).size).toBe(1);
    expect((await sql`select from oauth_keys`.execute(replicas.run)).rows).toHaveLength(1);
    await Promise.all(started.map((each) => each.close()));
    await replicas.close();
  });
});
