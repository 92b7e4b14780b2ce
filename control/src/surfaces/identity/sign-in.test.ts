// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from "node:crypto";
import { decodeJwt } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openBrowser } from "#testing/browser.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import {
  CALLBACK,
  exchange,
  makeUser,
  PASSWORD,
  type Program,
  registerProgram,
  signIn,
} from "#testing/people.ts";

let casemate: Installation;
let program: Program;
const ada = "ada@example.com";
beforeAll(async () => {
  casemate = await startInstallation({ withHost: false });
  program = await registerProgram(casemate.url, casemate.adminKey);
  await makeUser(casemate.url, casemate.adminKey, ada);
});
afterAll(() => casemate[Symbol.asyncDispose]());

const authorize = (members: Record<string, string>) => `/authorize?${new URLSearchParams(members)}`;
const asked = () => authorize({ client_id: program.clientId, redirect_uri: CALLBACK, state: "mine" });
const right = { do: "password", email: ada, password: PASSWORD };
const codeOf = (url: string) => new URL(url).searchParams.get("code")!;
async function getCode(members: Record<string, string> = {}): Promise<string> {
  const browser = openBrowser(casemate.url);
  const base = { client_id: program.clientId, redirect_uri: CALLBACK, state: "mine" };
  await browser.get(authorize({ ...base, ...members }));
  return codeOf((await browser.submit(right)).url);
}
const trade = (code: string, members: Record<string, string> = {}) =>
  exchange(casemate.url, { code, redirect_uri: CALLBACK, client_id: program.clientId, ...members });
const refresh = (token: string, clientId = program.clientId) =>
  casemate.anyone("POST", "/cdb/oauth2/token", {
    ...{ grant_type: "refresh_token", refresh_token: token, client_id: clientId },
  });
const me = (token: string) => callerOf(casemate.url, token)("GET", "/cdb/users/me");

describe("signing in", () => {
  it("leads from the program to the page and back, with the state, and the documented exchange gives tokens", async () => {
    const browser = openBrowser(casemate.url);
    const page = await browser.get(asked());
    expect(page.text).toContain("console");
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(page.text).not.toContain("<script");
    const back = await browser.submit(right);
    expect(back.url).toMatch(/^https:\/\/app\.example\/callback\?/);
    expect(new URL(back.url).searchParams.get("state")).toBe("mine");
    const { status, body } = await trade(codeOf(back.url));
    expect([status, body.token_type, body.expires_in]).toEqual([200, "bearer", "3600"]);
    expect(body.refresh_token).toEqual(expect.any(String));
    expect(decodeJwt(body.access_token)).toMatchObject({
      ...{ sub: ada, typ: "accessToken", client_id: program.clientId, iss: casemate.url, aud: casemate.url },
      ...{ sid: expect.any(String), pwdTime: expect.any(Number), uid: expect.any(String) },
    });
    expect((await me(body.access_token)).body).toMatchObject({ Kind: "user", Name: ada });
  });

  it("takes what the original's clients send: redirect_url, no response_type, a scope of theirs", async () => {
    const browser = openBrowser(casemate.url);
    const scope = "https://cloud.example cloudSystemId=*";
    const base = { client_id: program.clientId, redirect_url: CALLBACK, state: "s", scope, email: ada };
    const page = await browser.get(authorize({ ...base, client_type: "renewDesktop", view_type: "desktop" }));
    expect(page.text).toContain(`value="${ada}"`);
    expect((await trade(codeOf((await browser.submit(right)).url))).status).toBe(200);
  });

  it("asks before another program may act for who is signed in, and lets them refuse", async () => {
    const browser = openBrowser(casemate.url);
    await browser.get(asked());
    await browser.submit(right);
    const other = await registerProgram(casemate.url, casemate.adminKey, { name: "other" });
    const page = await browser.get(
      authorize({ client_id: other.clientId, redirect_uri: CALLBACK, state: "s" }),
    );
    expect([page.status, page.text.includes(ada)]).toEqual([200, true]);
    const refused = await browser.submit({ do: "refuse" });
    expect(new URL(refused.url).searchParams.get("error")).toBe("access_denied");
    await browser.get(authorize({ client_id: other.clientId, redirect_uri: CALLBACK, state: "s" }));
    const back = await browser.submit({ do: "continue" });
    expect((await trade(codeOf(back.url), { client_id: other.clientId })).status).toBe(200);
  });

  it("of somebody else at the same browser leaves nothing of who was there before", async () => {
    const bob = "bob@example.com";
    await makeUser(casemate.url, casemate.adminKey, bob);
    const browser = openBrowser(casemate.url);
    await browser.get(asked());
    await browser.submit(right);
    const other = await registerProgram(casemate.url, casemate.adminKey, { name: "other" });
    const query = authorize({ client_id: other.clientId, redirect_uri: CALLBACK, state: "s" });
    expect((await browser.get(query)).text).toContain(ada);
    const back = await browser.submit({ ...right, email: bob });
    const { body } = await trade(codeOf(back.url), { client_id: other.clientId });
    expect((await me(body.access_token)).body.Name).toBe(bob);
    expect((await browser.get(asked())).text).not.toContain(ada);
  });

  it("goes on by what is known only where somebody is signed in", async () => {
    const browser = openBrowser(casemate.url);
    await browser.get(asked());
    const page = await browser.submit({ do: "continue" });
    expect([page.status, page.url.startsWith(casemate.url)]).toEqual([400, true]);
  });

  it("gives the browser another session when somebody signs in, so that one planted before is worth nothing", async () => {
    const browser = openBrowser(casemate.url);
    await browser.get(asked());
    const planted = browser.cookies.find(({ name }) => name === "_session")?.value;
    await browser.submit(right);
    const session = browser.cookies.find(({ name }) => name === "_session")?.value;
    expect(session).toEqual(expect.any(String));
    expect(session).not.toBe(planted);
  });
});

describe("a code", () => {
  it("is good once: shown again it takes back what it gave", async () => {
    const code = await getCode();
    const { body } = await trade(code);
    expect((await me(body.access_token)).status).toBe(200);
    expect((await trade(code)).body.error).toBe("invalid_grant");
    expect((await me(body.access_token)).status).toBe(401);
    expect((await refresh(body.refresh_token)).body.error).toBe("invalid_grant");
  });

  it("shown many times at once is taken at most once, and then nothing of it stands", async () => {
    const code = await getCode();
    const replies = await Promise.all(Array.from({ length: 8 }, () => trade(code)));
    const given = replies.filter(({ status }) => status === 200);
    expect(given.length).toBeLessThanOrEqual(1);
    for (const { body } of given) expect((await me(body.access_token)).status).toBe(401);
  });

  it("is of no use to another program, at another address, or without the verifier it was bound to", async () => {
    const other = await registerProgram(casemate.url, casemate.adminKey, { name: "thief" });
    expect((await trade(await getCode(), { client_id: other.clientId })).body.error).toBe("invalid_grant");
    const elsewhere = { redirect_uri: "https://app.example/other" };
    expect((await trade(await getCode(), elsewhere)).body.error).toBe("invalid_grant");
    const verifier = randomBytes(32).toString("base64url");
    const bound = {
      code_challenge: createHash("sha256").update(verifier).digest("base64url"),
      code_challenge_method: "S256",
    };
    expect((await trade(await getCode(bound))).body.error).toBe("invalid_grant");
    expect((await trade(await getCode(bound), { code_verifier: `${verifier}x` })).body.error).toBe(
      "invalid_grant",
    );
    expect((await trade(await getCode(bound), { code_verifier: verifier })).status).toBe(200);
    expect((await trade(await getCode(), { code_verifier: verifier })).body.error).toBe("invalid_grant");
  });

  it("is exchanged by a page of the program's own origin, and read by no other's", async () => {
    const allowed = async (origin: string) => {
      const members = { grant_type: "authorization_code", code: await getCode() };
      const reply = await casemate.anyone(
        "POST",
        "/cdb/oauth2/token",
        { ...members, redirect_uri: CALLBACK, client_id: program.clientId },
        { origin },
      );
      return reply.headers.get("access-control-allow-origin");
    };
    expect(await allowed("https://app.example")).toBe("https://app.example");
    expect(await allowed("https://evil.example")).toBeNull();
  });

  it("is not given without PKCE to a program that is registered so", async () => {
    const strict = await registerProgram(casemate.url, casemate.adminKey, {
      name: "strict",
      require_pkce: true,
    });
    const browser = openBrowser(casemate.url);
    const back = await browser.get(
      authorize({ client_id: strict.clientId, redirect_uri: CALLBACK, state: "s" }),
    );
    expect(new URL(back.url).searchParams.get("error")).toBe("invalid_request");
  });
});

describe("the way back", () => {
  it("leads nowhere but to an address registered to the letter", async () => {
    for (const redirect_uri of [
      ...[
        "https://evil.example/",
        `${CALLBACK}/`,
        `${CALLBACK}?x=1`,
        `${CALLBACK}#x`,
        CALLBACK.toUpperCase(),
      ],
      ...[
        "https://app.example@evil.example/callback",
        "https://app.example/callback/../evil",
        "javascript:alert(1)",
      ],
      ...["//evil.example", "data:text/html,x"],
    ]) {
      const browser = openBrowser(casemate.url);
      const shown = await browser.get(authorize({ client_id: program.clientId, redirect_uri, state: "s" }));
      expect([redirect_uri, shown.status, shown.url.startsWith(casemate.url)]).toEqual([
        redirect_uri,
        400,
        true,
      ]);
      expect(shown.headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(shown.text).not.toContain("evil");
    }
  });

  it("is not chosen by sending two", async () => {
    const browser = openBrowser(casemate.url);
    const query = `${asked()}&redirect_uri=https://evil.example/`;
    const shown = await browser.get(query);
    expect([new URL(shown.url).host, new URL(shown.url).searchParams.get("error")]).toEqual([
      ...["app.example", "invalid_request"],
    ]);
    const alias = await browser.get(`${asked()}&redirect_url=https://evil.example/`);
    expect(alias.text).not.toContain("evil");
  });

  it("shows foreign text as text", async () => {
    const name = `<script>alert(1)</script>"'&`;
    const odd = await registerProgram(casemate.url, casemate.adminKey, { name });
    const browser = openBrowser(casemate.url);
    const base = {
      client_id: odd.clientId,
      redirect_uri: CALLBACK,
      state: "s",
      email: `"><script>x</script>`,
    };
    const page = await browser.get(authorize(base));
    expect(page.status).toBe(200);
    expect(page.text).not.toContain("<script");
    expect(page.text).toContain("&lt;script&gt;");
  });
});

describe("a form from elsewhere", () => {
  it("is refused by its origin, and without this browser's cookie there is no question to answer", async () => {
    const browser = openBrowser(casemate.url);
    const { url } = await browser.get(asked());
    for (const headers of [{ origin: "https://evil.example" }, { origin: "null" }] as Record<
      string,
      string
    >[])
      expect((await browser.submit(right, headers)).status).toBe(403);
    const stranger = openBrowser(casemate.url);
    expect((await stranger.get(url)).status).toBe(400);
    const posted = await stranger.submit(right);
    expect([posted.status, posted.url.startsWith(casemate.url)]).toEqual([400, true]);
    // The owner of the cookie is not put out by any of it.
    expect((await browser.submit(right)).url).toContain("code=");
  });
});

describe("a refresh token", () => {
  it("gives new tokens once; a copy used later ends the sign-in for both", async () => {
    const first = await signIn(casemate.url, program, ada);
    const second = (await refresh(first.refresh_token)).body;
    expect(second.refresh_token).not.toBe(first.refresh_token);
    expect((await me(second.access_token)).status).toBe(200);
    expect((await refresh(first.refresh_token)).body.error).toBe("invalid_grant");
    expect((await me(second.access_token)).status).toBe(401);
    expect((await refresh(second.refresh_token)).body.error).toBe("invalid_grant");
  });

  it("and an identity token are no access tokens, and no refresh token is another program's", async () => {
    const tokens = await signIn(casemate.url, program, ada);
    expect((await me(tokens.refresh_token)).status).toBe(401);
    expect((await me(tokens.id_token!)).status).toBe(401);
    const other = await registerProgram(casemate.url, casemate.adminKey, { name: "thief" });
    expect((await refresh(tokens.refresh_token, other.clientId)).body.error).toBe("invalid_grant");
    expect((await refresh(tokens.access_token)).body.error).toBe("invalid_grant");
  });
});
