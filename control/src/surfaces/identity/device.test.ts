// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openBrowser } from "#testing/browser.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { makeUser, PASSWORD, type Program, registerProgram, signIn } from "#testing/people.ts";

let casemate: Installation;
let program: Program;
const ada = "ada@example.com";
beforeAll(async () => {
  casemate = await startInstallation({ withHost: false });
  program = await registerProgram(casemate.url, casemate.adminKey, { name: "edge agent" });
  await makeUser(casemate.url, casemate.adminKey, ada);
});
afterAll(() => casemate[Symbol.asyncDispose]());

const post = (path: string, members: Record<string, string>) => casemate.anyone("POST", path, members);
const begin = async () => (await post("/cdb/oauth2/device", { client_id: program.clientId })).body;
const poll = (device_code: string, client_id = program.clientId) =>
  post("/cdb/oauth2/token", {
    ...{ grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code, client_id },
  });
const me = (token: string) => callerOf(casemate.url, token)("GET", "/cdb/users/me");
const xsrfOf = (text: string) => /name="xsrf" value="([^"]+)"/.exec(text)![1]!;
const right = { do: "password", email: ada, password: PASSWORD };

describe("signing in on a device", () => {
  it("waits for a person, who reads what it means, and gives tokens once", async () => {
    const device = await begin();
    expect(device.verification_uri).toBe(`${casemate.url}/device`);
    expect((await poll(device.device_code)).body.error).toBe("authorization_pending");
    const browser = openBrowser(casemate.url);
    const page = await browser.get(device.verification_uri);
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
    const asked = await browser.submit({ xsrf: xsrfOf(page.text), user_code: device.user_code });
    expect(asked.text).toContain("edge agent");
    expect(asked.text).toContain("If somebody sent you the code");
    expect((await poll(device.device_code)).body.error).toMatch(/authorization_pending|slow_down/);
    const login = await browser.submit({
      ...{ xsrf: xsrfOf(asked.text), user_code: device.user_code, confirm: "yes" },
    });
    expect(login.url).toContain("/sign-in/");
    expect((await browser.submit(right)).text).toContain("Your device is signed in");
    const { status, body } = await poll(device.device_code);
    expect([status, body.expires_in]).toEqual([200, "3600"]);
    expect((await me(body.access_token)).body.Name).toBe(ada);
    expect((await poll(device.device_code)).body.error).toBe("invalid_grant");
    expect((await me(body.access_token)).status).toBe(401);
  });

  it("by an address that brings the code sends nothing by itself, and a stop is a stop", async () => {
    const device = await begin();
    const browser = openBrowser(casemate.url);
    const page = await browser.get(device.verification_uri_complete);
    expect(page.text).toContain(`value="${device.user_code}"`);
    expect(page.text).not.toContain("<script");
    const asked = await browser.submit({ xsrf: xsrfOf(page.text), user_code: device.user_code });
    await browser.submit({ xsrf: xsrfOf(asked.text), user_code: device.user_code, abort: "yes" });
    expect((await poll(device.device_code)).body.error).toBe("access_denied");
  });

  it("cannot be said yes to from another page, nor polled by another program", async () => {
    const device = await begin();
    const browser = openBrowser(casemate.url);
    const page = await browser.get(device.verification_uri);
    const members = { user_code: device.user_code, confirm: "yes" };
    expect(
      (await browser.submit({ ...members, xsrf: xsrfOf(page.text) }, { origin: "https://evil.example" }))
        .status,
    ).toBe(403);
    const without = await browser.submit({ ...members, xsrf: "x" });
    expect([without.status, without.url.includes("/sign-in/")]).toEqual([400, false]);
    const other = await registerProgram(casemate.url, casemate.adminKey, { name: "thief" });
    expect((await poll(device.device_code, other.clientId)).body.error).toBe("invalid_grant");
  });

  it("cannot be gone on with in a browser that never saw the page", async () => {
    for (const shown of [
      await casemate.anyone("POST", "/device", "user_code=x&confirm=yes", {
        "content-type": "application/x-www-form-urlencoded",
      }),
      await casemate.anyone("GET", "/device/nothing", undefined, { cookie: "_session=planted" }),
    ])
      expect([shown.status, shown.text.includes("Begin again")]).toEqual([400, true]);
  });

  it("takes no wrong code, and shows what was typed as text", async () => {
    const browser = openBrowser(casemate.url);
    const page = await browser.get("/device?user_code=%22%3E%3Cscript%3E");
    expect(page.text).not.toContain("<script");
    const wrong = await browser.submit({ xsrf: xsrfOf(page.text), user_code: "AAAA-AAAA" });
    expect(wrong.text).toContain("wrong, used, or too old");
  });
});

describe("taking a token back, and asking about one", () => {
  const introspect = (token: string, client_id = program.clientId) =>
    post("/cdb/oauth2/introspect", { token, client_id });
  const revoke = (token: string, client_id = program.clientId) =>
    post("/cdb/oauth2/revoke", { token, client_id });

  it("ends an access token alone, and a whole sign-in by its refresh token", async () => {
    const withCallback = await registerProgram(casemate.url, casemate.adminKey);
    const own = withCallback.clientId;
    const tokens = await signIn(casemate.url, withCallback, ada);
    expect((await introspect(tokens.access_token, own)).body).toMatchObject({ active: true, sub: ada });
    expect((await revoke(tokens.access_token, own)).status).toBe(200);
    expect((await me(tokens.access_token)).status).toBe(401);
    expect((await introspect(tokens.access_token, own)).body).toEqual({ active: false });
    const { body: next } = await post("/cdb/oauth2/token", {
      ...{ grant_type: "refresh_token", refresh_token: tokens.refresh_token, client_id: own },
    });
    expect((await me(next.access_token)).status).toBe(200);
    expect((await revoke(next.refresh_token, own)).status).toBe(200);
    expect((await me(next.access_token)).status).toBe(401);
  });

  it("is not another program's to do, and says nothing about tokens of others or of nobody", async () => {
    const withCallback = await registerProgram(casemate.url, casemate.adminKey);
    const tokens = await signIn(casemate.url, withCallback, ada);
    const acme = await casemate.tenant();
    for (const token of [tokens.access_token, tokens.refresh_token, "x.y.z", "nothing"]) {
      expect((await introspect(token)).body).toEqual({ active: false });
      await revoke(token);
      const credentials = { client_id: acme.clientId, client_secret: acme.clientSecret };
      expect((await post("/cdb/oauth2/introspect", { ...credentials, token })).body).toEqual({
        active: false,
      });
    }
    expect((await me(tokens.access_token)).status).toBe(200);
    const wrong = { token: tokens.access_token, client_id: acme.clientId, client_secret: "wrong" };
    expect((await post("/cdb/oauth2/introspect", wrong)).status).toBe(401);
  });
});
