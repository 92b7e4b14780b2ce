// SPDX-License-Identifier: Apache-2.0
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Browser, openBrowser } from "#testing/browser.ts";
import { freePort } from "#testing/free-port.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { type OtherControl, startOtherControl } from "#testing/other-control.ts";
import { CALLBACK, exchange, makeUser, PASSWORD, type Program, registerProgram } from "#testing/people.ts";

let other: OtherControl;
let here: Installation;
let program: Program;
let config: Record<string, unknown>;
beforeAll(async () => {
  other = await startOtherControl();
  // Of an app on loopback the port does not count (RFC 8252).
  const back = "http://127.0.0.1/sign-in-outside";
  const asked = { name: "casemate", redirect_uris: [back], native: true };
  const { clientId } = await registerProgram(other.url, other.adminKey, asked);
  const outside = { issuer: other.url, clientId, clientSecretFile: null, name: "Elsewhere" };
  config = { identity: { outside: { ...outside, signUp: true, trustEmail: true } } };
  here = await startInstallation({ withHost: false, config });
  program = await registerProgram(here.url, here.adminKey);
}, 60_000);
afterAll(async () => {
  await here[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});

let made = 0;
const newEmail = () => `o${++made}@example.com`;
const authorize = () =>
  `/authorize?${new URLSearchParams({ client_id: program.clientId, redirect_uri: CALLBACK, state: "s" })}`;

/** At the other provider, until it sends the browser back here; returns that address. */
async function signInThere(url: string, email: string): Promise<string> {
  const there = openBrowser(other.url);
  await there.get(url);
  return (await there.submit({ do: "password", email, password: PASSWORD })).url;
}
/** From the page here to the other provider. */
async function leave(browser: Browser): Promise<string> {
  const page = await browser.get(authorize());
  expect(page.text).toContain("Sign in with Elsewhere");
  return (await browser.get(`${page.url}?do=outside`)).url;
}
async function tokensOf(url: string) {
  const code = new URL(url).searchParams.get("code")!;
  return (await exchange(here.url, { code, redirect_uri: CALLBACK, client_id: program.clientId })).body;
}
const me = (token: string) => callerOf(here.url, token)("GET", "/cdb/users/me");

describe("signing in through a provider outside", () => {
  it("makes a user the first time, and is the same one the next", async () => {
    const email = newEmail();
    await makeUser(other.url, other.adminKey, email);
    const ids = [];
    for (let n = 0; n < 2; n++) {
      const browser = openBrowser(here.url);
      const back = await browser.get(await signInThere(await leave(browser), email));
      expect(back.url).toContain(CALLBACK);
      const { body } = await me((await tokensOf(back.url)).access_token);
      expect(body.Name).toBe(email);
      ids.push(body.ID);
    }
    expect(ids[0]).toBe(ids[1]);
  });

  it("never leads to a user who is here already by an e-mail address", async () => {
    const email = newEmail();
    await makeUser(other.url, other.adminKey, email);
    await makeUser(here.url, here.adminKey, email);
    const browser = openBrowser(here.url);
    const shown = await browser.get(await signInThere(await leave(browser), email));
    expect([shown.status, shown.text.includes("signs in with a password")]).toEqual([400, true]);
  });

  it("belongs to the browser that began: a way back sent to somebody else signs nobody in", async () => {
    const email = newEmail();
    await makeUser(other.url, other.adminKey, email);
    const attacker = openBrowser(here.url);
    const back = await signInThere(await leave(attacker), email);
    const victim = openBrowser(here.url);
    await victim.get(authorize());
    const shown = await victim.get(back);
    expect([shown.status, shown.text.includes("begun in another browser")]).toEqual([400, true]);
    expect(victim.cookies.some(({ name }) => name === "_session")).toBe(false);
    // Nor does what that gave answer a question of the victim's own.
    const sent = await fetch(await signInThere(await leave(attacker), email), { redirect: "manual" });
    const { search } = new URL(sent.headers.get("location")!, here.url);
    const own = await victim.get(authorize());
    const planted = await victim.get(`${own.url}${search}`);
    expect([planted.status, planted.url.startsWith(own.url)]).toEqual([200, true]);
    // Used, and not to be used again by whoever began it.
    const again = await attacker.get(back);
    expect([again.status, again.text.includes("was used")]).toEqual([400, true]);
  });

  it("holds what comes back to what was asked: state, code, issuer", async () => {
    const email = newEmail();
    await makeUser(other.url, other.adminKey, email);
    const forged = [
      (url: URL) => url.searchParams.set("state", "mine"),
      (url: URL) => url.searchParams.delete("state"),
      (url: URL) => url.searchParams.set("code", "mine"),
      (url: URL) => url.searchParams.set("iss", "https://evil.example"),
    ];
    for (const forge of forged) {
      const browser = openBrowser(here.url);
      const back = new URL(await signInThere(await leave(browser), email));
      forge(back);
      const shown = await browser.get(back.href);
      expect([back.search, shown.status]).toEqual([back.search, 400]);
      expect(shown.text).not.toContain("evil");
    }
    // Another's code in one's own way back: it is bound to another verifier and nonce.
    const [mine, theirs] = [openBrowser(here.url), openBrowser(here.url)];
    const back = new URL(await signInThere(await leave(mine), email));
    const stolen = new URL(await signInThere(await leave(theirs), email));
    back.searchParams.set("code", stolen.searchParams.get("code")!);
    expect((await mine.get(back.href)).status).toBe(400);
  });

  it("ends with the user here, and what comes then is somebody new", async () => {
    const email = newEmail();
    await makeUser(other.url, other.adminKey, email);
    const browser = openBrowser(here.url);
    const { access_token } = await tokensOf(
      (await browser.get(await signInThere(await leave(browser), email))).url,
    );
    const { ID } = (await me(access_token)).body;
    await callerOf(here.url, here.adminKey)("DELETE", `/platform/v1/users/${ID}`);
    expect((await me(access_token)).status).toBe(401);
    const next = openBrowser(here.url);
    const back = await next.get(await signInThere(await leave(next), email));
    expect((await me((await tokensOf(back.url)).access_token)).body.ID).not.toBe(ID);
  });

  it("keeps state, nonce and verifier sealed", async () => {
    const browser = openBrowser(here.url);
    const asked = new URL(await leave(browser));
    const { rows } = await sql<{ all: string }>`select json_agg(r)::text as all from oauth_records r`.execute(
      here.control.db.run,
    );
    for (const name of ["state", "nonce"]) expect(rows[0]!.all).not.toContain(asked.searchParams.get(name)!);
  });
});

describe("a provider outside that is away", () => {
  it("is said to be, and people sign in by password all the same", async () => {
    const port = await freePort();
    const outside = {
      issuer: `http://127.0.0.1:${port}`,
      clientId: "x",
      clientSecretFile: null,
      name: "Away",
    };
    await using alone = await startInstallation({
      ...{
        withHost: false,
        config: { identity: { outside: { ...outside, signUp: false, trustEmail: false } } },
      },
    });
    const its = await registerProgram(alone.url, alone.adminKey);
    const browser = openBrowser(alone.url);
    const page = await browser.get(
      `/authorize?${new URLSearchParams({ client_id: its.clientId, redirect_uri: CALLBACK, state: "s" })}`,
    );
    const shown = await browser.get(`${page.url}?do=outside`);
    expect([shown.status, shown.text.includes("Away does not answer")]).toEqual([400, true]);
    expect((await alone.person(its)).tokens.access_token).toEqual(expect.any(String));
  });
});
