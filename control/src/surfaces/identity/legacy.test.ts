// SPDX-License-Identifier: Apache-2.0
import { decodeJwt } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LEGACY } from "#contract/identity/index.ts";
import { DEFAULT_CONFIG } from "#control/src/defaults.ts";
import { openIdentity } from "#control/src/identity.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { makeUser, PASSWORD } from "#testing/people.ts";

let casemate: Installation;
const ada = "ada@example.com";
let userId: string;
beforeAll(async () => {
  casemate = await startInstallation({ withHost: false, config: { models: { legacyAuth: true } } });
  userId = await makeUser(casemate.url, casemate.adminKey, ada);
});
afterAll(() => casemate[Symbol.asyncDispose]());

const signIn = (Username: string, Password: string, KeepLoggedIn = true) =>
  casemate.anyone("POST", "/auth/authenticate/signin", { Username, Password, KeepLoggedIn });
const refresh = (RefreshToken: string) =>
  casemate.anyone("POST", "/auth/authenticate/refresh-token", { GrantType: "refresh_token", RefreshToken });
const me = (token: string) => callerOf(casemate.url, token)("GET", "/cdb/users/me");

describe("the legacy sign-in", () => {
  it("gives tokens with the claims that older programs read, and they act as any other", async () => {
    const { status, body } = await signIn(ada.toUpperCase(), PASSWORD);
    expect([status, Object.keys(body)]).toEqual([200, ["AccessToken", "RefreshToken"]]);
    expect(decodeJwt(body.AccessToken)).toMatchObject({
      ...{ sub: userId, aud: "user", Email: ada, OrganisationUUID: userId, exp: expect.any(Number) },
    });
    expect((await me(body.AccessToken)).body).toMatchObject({ Kind: "user", ID: userId });
    const call = callerOf(casemate.url, body.AccessToken);
    const organization = (await call("POST", "/cdb/organizations", { Name: "Acme" })).body.UUID;
    expect((await call("GET", `/auth/user/${userId}`)).body).toEqual({
      ...{ UUID: userId, Email: ada, Name: "ada", OrganisationUUID: organization },
    });
    expect((await call("GET", `/auth/user/${organization}`)).status).toBe(404);
  });

  it("says as little, and counts as much, as the page", async () => {
    const bob = "bob@example.com";
    await makeUser(casemate.url, casemate.adminKey, bob);
    const told = [];
    for (const who of [bob, "nobody@example.com"]) {
      const { status, body } = await signIn(who, "wrong wrong wrong");
      told.push([status, { ...body, RequestID: "" }]);
    }
    expect(told[0]).toEqual([401, expect.objectContaining({ Code: "identity.wrong-login" })]);
    expect(told[1]).toEqual(told[0]);
    for (let n = 0; n < 9; n++) await signIn(bob, "wrong wrong wrong");
    expect((await signIn(bob, PASSWORD)).status).toBe(429);
  });

  it("refreshes once by the body or the bearer; a token shown twice ends it", async () => {
    const first = (await signIn(ada, PASSWORD)).body;
    const second = (await refresh(first.RefreshToken)).body;
    const bearer = callerOf(casemate.url, second.RefreshToken);
    const third = (await bearer("POST", "/auth/authenticate/refresh-token", { GrantType: "refresh_token" }))
      .body;
    expect((await me(third.AccessToken)).status).toBe(200);
    expect((await refresh(first.RefreshToken)).status).toBe(401);
    expect((await me(third.AccessToken)).status).toBe(401);
    expect((await refresh(third.RefreshToken)).status).toBe(401);
  });

  it("takes none of its tokens for another, and ends with sign-out", async () => {
    const { AccessToken, RefreshToken } = (await signIn(ada, PASSWORD)).body;
    expect((await me(RefreshToken)).status).toBe(401);
    expect((await refresh(AccessToken)).status).toBe(401);
    const tenant = await casemate.tenant();
    expect((await refresh(tenant.key!)).status).toBe(401);
    expect((await tenant("POST", "/auth/authenticate/signout")).status).toBe(401);
    const other = (await signIn(ada, PASSWORD)).body;
    const call = callerOf(casemate.url, AccessToken);
    expect((await call("POST", "/auth/authenticate/signout")).status).toBe(200);
    expect((await me(AccessToken)).status).toBe(401);
    expect((await refresh(RefreshToken)).status).toBe(401);
    expect((await me(other.AccessToken)).status).toBe(200);
    await callerOf(casemate.url, other.AccessToken)("POST", "/cdb/users/me/sign-out");
    expect((await me(other.AccessToken)).status).toBe(401);
  });

  it("answers bad bodies in the form of these surfaces", async () => {
    for (const operation of LEGACY.filter(({ bodyKind }) => bodyKind === "json"))
      for (const body of ["{", "[]", '{"Username":7}', '{"RefreshToken":7}']) {
        const reply = await casemate.anyone("POST", operation.path, body, {
          "content-type": "application/json",
        });
        expect([operation.id, body, [400, 401].includes(reply.status)]).toEqual([operation.id, body, true]);
        expect(reply.body).toMatchObject({ Message: expect.any(String), Code: expect.any(String) });
      }
  });
});

describe("where it is not switched on", () => {
  it("is not there, and its tokens count for nothing", async () => {
    const { AccessToken } = (await signIn(ada, PASSWORD)).body;
    const config = { identity: { publicUrl: casemate.url } };
    await using plain = await startInstallation({
      ...{ withHost: false, config, database: casemate.connection, replica: "test-2" },
    });
    for (const { method, path, example } of LEGACY) {
      const reply = await plain.anyone(method, path.replace(":uuid", userId), example?.body);
      expect([path, reply.status, reply.body.Code]).toEqual([path, 404, "request.unknown-route"]);
    }
    expect((await callerOf(plain.url, AccessToken)("GET", "/cdb/users/me")).status).toBe(401);
  });

  it("is never where others could listen in", async () => {
    const config = structuredClone(DEFAULT_CONFIG);
    Object.assign(config.models, { legacyAuth: true });
    Object.assign(config.http, { host: "0.0.0.0", insecure: true });
    const opened = openIdentity(
      {} as never,
      config,
      () => "",
      () => {},
    );
    await expect(opened).rejects.toThrow(/config models.legacyAuth/);
  });
});
