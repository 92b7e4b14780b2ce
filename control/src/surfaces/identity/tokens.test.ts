// SPDX-License-Identifier: Apache-2.0
import { createHmac, createSign, generateKeyPairSync, randomUUID } from "node:crypto";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Caller,
  callerOf,
  type Installation,
  startInstallation,
  type Tenant,
} from "#testing/installation.ts";

let casemate: Installation;
let acme: Caller & Tenant;
beforeAll(async () => {
  casemate = await startInstallation({ withHost: false });
  acme = await casemate.tenant("acme");
});
afterAll(() => casemate[Symbol.asyncDispose]());

const FORM = { "content-type": "application/x-www-form-urlencoded" };
const form = (members: Record<string, string>) => new URLSearchParams(members).toString();
const ask = (members: Record<string, string>) =>
  casemate.anyone("POST", "/cdb/oauth2/token", form(members), FORM);
const mine = () => ({
  ...{ grant_type: "client_credentials", client_id: acme.clientId, client_secret: acme.clientSecret },
});
const list = (token: string | null) => callerOf(casemate.url, token)("GET", "/cdb/organizations");

describe("a client's own token", () => {
  it("is given for a form, for JSON, and for credentials in the header", async () => {
    const basic = Buffer.from(`${acme.clientId}:${acme.clientSecret}`).toString("base64");
    const replies = await Promise.all([
      ask(mine()),
      casemate.anyone("POST", "/cdb/oauth2/token", mine()),
      casemate.anyone("POST", "/cdb/oauth2/token", form({ grant_type: "client_credentials" }), {
        ...{ ...FORM, authorization: `Basic ${basic}` },
      }),
    ]);
    for (const { status, body, headers } of replies) {
      expect(status).toBe(200);
      expect(body).toEqual({
        ...{ access_token: expect.any(String), token_type: "bearer", expires_in: "3600" },
        expires_at: expect.any(Number),
      });
      expect(headers.get("cache-control")).toContain("no-store");
      expect((await list(body.access_token)).status).toBe(200);
    }
  });

  it("has the documented claims, and a key that is in the key set", async () => {
    const header = decodeProtectedHeader(acme.key!);
    const claims = decodeJwt(acme.key!);
    expect(header).toEqual({ alg: "RS256", typ: "at+jwt", kid: expect.any(String) });
    expect(claims).toEqual({
      ...{ iss: casemate.url, aud: casemate.url, sub: acme.clientId, client_id: acme.clientId },
      ...{ typ: "accessToken", jti: expect.any(String), iat: expect.any(Number) },
      exp: claims.iat! + 3600,
    });
    const { keys } = (await casemate.anyone("GET", "/cdb/oauth2/jwks")).body;
    expect(keys.map(({ kid }: { kid: string }) => kid)).toContain(header.kid);
    for (const key of keys) expect(Object.keys(key)).not.toContain("d");
  });

  it("counts with the prefix of the original too, and not with any other", async () => {
    expect((await list(`nxcdb-${acme.key}`)).status).toBe(200);
    expect((await list(`other-${acme.key}`)).status).toBe(401);
  });

  it("is refused for a wrong secret, another grant, a misspelt permission and a body that is none", async () => {
    const wrong = { ...mine(), client_secret: `${acme.clientSecret}x` };
    expect([(await ask(wrong)).status, (await ask(wrong)).body.error]).toEqual([401, "invalid_client"]);
    expect((await ask({ ...mine(), client_id: "oc_nobody" })).body.error).toBe("invalid_client");
    expect((await ask({ ...mine(), grant_type: "password", username: "a", password: "b" })).body.error).toBe(
      "unsupported_grant_type",
    );
    expect((await ask({ ...mine(), scope: "models:raed" })).body.error).toBe("invalid_scope");
    for (const body of ["{", "[]", '"x"', '{"grant_type":{}}']) {
      const reply = await casemate.anyone("POST", "/cdb/oauth2/token", body, {
        "content-type": "application/json",
      });
      expect([body, reply.status, reply.body.error]).toEqual([body, 400, "invalid_request"]);
    }
    expect((await ask({ ...mine(), client_secret: "x".repeat(40_000) })).status).toBe(413);
  });

  it("is narrowed to what was asked for", async () => {
    const { body } = await ask({ ...mine(), scope: "models:read" });
    expect(body.scope).toBe("models:read");
    const reply = await list(body.access_token);
    expect([reply.status, reply.body.Code]).toEqual([403, "identity.scope"]);
  });
});

describe("what is no access token of ours", () => {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = (change = {}) => ({ ...decodeJwt(acme.key!), jti: randomUUID(), ...change });
  const header = (change = {}) => ({ ...decodeProtectedHeader(acme.key!), ...change });
  const sign = (head: object, body: object, signature: (input: string) => string) => {
    const input = `${part(head)}.${part(body)}`;
    return `${input}.${signature(input)}`;
  };
  const stranger = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const byStranger = (input: string) =>
    createSign("sha256").update(input).sign(stranger.privateKey, "base64url");

  it("is answered 401 in the form of these surfaces", async () => {
    const { keys } = (await casemate.anyone("GET", "/cdb/oauth2/jwks")).body;
    const [publicKey] = keys;
    const cut = acme.key!.split(".");
    const tokens: [string, string | null][] = [
      ["none", null],
      ["garbage", "x.y.z"],
      ["a key of another surface", `nrx_live_${"A".repeat(32)}`],
      ["the operator's key", casemate.adminKey],
      ["alg none", `${part(header({ alg: "none" }))}.${part(claims())}.AA`],
      [
        "HS256 by our public key",
        sign(header({ alg: "HS256" }), claims(), (input) =>
          createHmac("sha256", JSON.stringify(publicKey)).update(input).digest("base64url"),
        ),
      ],
      ["another's key under our kid", sign(header(), claims(), byStranger)],
      ["another's key", sign(header({ kid: "mine" }), claims(), byStranger)],
      ["no kid", sign(header({ kid: undefined }), claims(), byStranger)],
      [
        "a key of its own in the header",
        sign(
          { ...header({ kid: "own" }), jwk: stranger.publicKey.export({ format: "jwk" }) },
          claims(),
          byStranger,
        ),
      ],
      [
        "changed claims",
        [cut[0], part(claims({ client_id: "oc_other", sub: "oc_other" })), cut[2]].join("."),
      ],
      ["much too long", `${cut[0]}.${"A".repeat(8000)}.${cut[2]}`],
    ];
    for (const [what, token] of tokens) {
      const reply = await list(token);
      expect([what, reply.status]).toEqual([what, 401]);
      expect(reply.body).toEqual({
        ...{ Message: expect.any(String), AuthorizationInvalid: true, Code: "identity.token" },
        RequestID: expect.stringMatching(/^req_/),
      });
      expect(reply.headers.get("www-authenticate")).toBe("Bearer");
    }
  });
});

describe("a client that is no more", () => {
  it("has a token that counts no more, from the next call on", async () => {
    const gone = await casemate.tenant("gone");
    expect((await gone("GET", "/cdb/organizations")).status).toBe(200);
    await sql`update oauth_clients set revoked_at = now() where client_id = ${gone.clientId}`.execute(
      casemate.control.db.run,
    );
    expect((await gone("GET", "/cdb/organizations")).status).toBe(401);
    const { clientId, clientSecret } = gone;
    const again = await ask({ ...mine(), client_id: clientId, client_secret: clientSecret });
    expect(again.body.error).toBe("invalid_client");
  });
});

describe("addresses in answers", () => {
  it("are the issuer's, whatever a request calls us", async () => {
    const { request } = await import("node:http");
    const text = await new Promise<string>((resolve, reject) => {
      const headers = {
        host: "evil.example",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
      };
      request(`${casemate.url}/.well-known/openid-configuration`, { headers }, async (reply) => {
        let all = "";
        for await (const some of reply.setEncoding("utf8")) all += some;
        resolve(all);
      })
        .once("error", reject)
        .end();
    });
    expect(text).not.toContain("evil");
    expect(JSON.parse(text)).toMatchObject({
      ...{ issuer: casemate.url, token_endpoint: `${casemate.url}/cdb/oauth2/token` },
      jwks_uri: `${casemate.url}/cdb/oauth2/jwks`,
    });
  });
});

describe("what the database holds", () => {
  it("shows no secret of a client and no private key", async () => {
    const { rows } = await sql<{ all: string }>`
      select (select json_agg(c) from oauth_clients c)::text || (select json_agg(k) from oauth_keys k)::text as all`.execute(
      casemate.control.db.run,
    );
    expect(rows[0]!.all).not.toContain(acme.clientSecret);
    expect(rows[0]!.all).not.toContain('"d"');
  });
});
