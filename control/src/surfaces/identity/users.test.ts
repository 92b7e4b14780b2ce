// SPDX-License-Identifier: Apache-2.0
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openBrowser } from "#testing/browser.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { CALLBACK, makeUser, PASSWORD, type Program, registerProgram, signIn } from "#testing/people.ts";

let first: Installation;
let second: Installation;
let program: Program;
beforeAll(async () => {
  // One issuer for both, as behind one address.
  const config = { identity: { publicUrl: "http://127.0.0.1:1", signUp: "open" } };
  first = await startInstallation({ withHost: false, config });
  second = await startInstallation({
    withHost: false,
    config,
    database: first.connection,
    replica: "test-2",
  });
  program = await registerProgram(first.url, second.adminKey);
});
afterAll(async () => {
  await second[Symbol.asyncDispose]();
  await first[Symbol.asyncDispose]();
});

let made = 0;
const newEmail = () => `u${++made}@example.com`;
const page = async (at: Installation) => {
  const browser = openBrowser(at.url);
  const asked = { client_id: program.clientId, redirect_uri: CALLBACK, state: "s" };
  // The issuer's address is nobody's here: a test goes where it leads, on the replica that it means.
  const begun = await fetch(`${at.url}/authorize?${new URLSearchParams(asked)}`, { redirect: "manual" });
  const path = begun.headers.get("location")!;
  const cookie = begun.headers
    .getSetCookie()
    .map((line) => line.split(";")[0])
    .join("; ");
  return { browser, path, cookie };
};
/** One try at the password, as the page sends it. */
async function tryIn(at: Installation, email: string, password: string) {
  const { path, cookie } = await page(at);
  const reply = await fetch(`${at.url}${path}`, {
    ...{ method: "POST", redirect: "manual" },
    body: new URLSearchParams({ do: "password", email, password }),
    headers: { cookie, origin: "http://127.0.0.1:1" },
  });
  return { status: reply.status, text: await reply.text(), retryAfter: reply.headers.get("retry-after") };
}
const me = (at: Installation, token: string) => callerOf(at.url, token)("GET", "/cdb/users/me");

describe("guessing at passwords", () => {
  it("is bounded per account on both replicas together, whether there is such an account or not", async () => {
    const email = newEmail();
    await makeUser(first.url, second.adminKey, email);
    for (const tried of [email, newEmail()]) {
      const replies = [];
      for (let n = 0; n < 12; n++)
        replies.push(await tryIn(n % 2 === 0 ? first : second, tried, `wrong ${n}`));
      expect(replies.map(({ status }) => status)).toEqual([...Array(10).fill(400), 429, 429]);
      expect(Number(replies[11]!.retryAfter)).toBeGreaterThan(0);
      // Both are told the same, to the letter.
      expect(replies[0]!.text).toContain("The e-mail address or the password is wrong.");
    }
    // The right one is not looked at either, or the bound would be none.
    expect((await tryIn(second, email.toUpperCase(), PASSWORD)).status).toBe(429);
  });

  it("of many tries at once looks at no more than the bound", async () => {
    await sql`delete from guesses`.execute(first.control.db.run);
    const email = newEmail();
    await makeUser(first.url, second.adminKey, email);
    const replies = await Promise.all(
      Array.from({ length: 16 }, (_, n) => tryIn(n % 2 === 0 ? first : second, email, "wrong wrong wrong")),
    );
    expect(replies.filter(({ status }) => status === 400).length).toBeLessThanOrEqual(10);
    expect(replies.filter(({ status }) => status === 429).length).toBeGreaterThanOrEqual(6);
  });

  it("is bounded per address over all accounts, and a right password is no guess", async () => {
    await sql`delete from guesses`.execute(first.control.db.run);
    const email = newEmail();
    await makeUser(first.url, second.adminKey, email);
    for (let n = 0; n < 12; n++) expect((await tryIn(first, email, PASSWORD)).status).toBe(303);
    await sql`update guesses set failed = 50 where subject = 'address:127.0.0.1'`.execute(
      first.control.db.run,
    );
    expect((await tryIn(second, email, PASSWORD)).status).toBe(429);
    await sql`delete from guesses`.execute(first.control.db.run);
  });

  it("leaves no password and no address as typed in the table", async () => {
    await tryIn(first, "My Secret Password", "wrong wrong wrong");
    const { rows } = await sql<{ all: string }>`select json_agg(g)::text as all from guesses g`.execute(
      first.control.db.run,
    );
    expect(rows[0]!.all.toLowerCase()).not.toContain("my secret");
  });
});

describe("a user", () => {
  const signUp = (change: Record<string, unknown> = {}) =>
    first.anyone("POST", "/cdb/users", { Email: newEmail(), Password: PASSWORD, Name: "Ada", ...change });

  it("signs up where that is open, once per mailbox, with a password that is one", async () => {
    const { status, body } = await signUp();
    expect([status, body]).toEqual([201, expect.objectContaining({ UUID: expect.any(String), Name: "Ada" })]);
    const taken = await signUp({ Email: body.Email.toUpperCase() });
    expect([taken.status, taken.body.Code, taken.body.Field.Name]).toEqual([
      409,
      "identity.email-taken",
      "Email",
    ]);
    for (const Password of ["short", "a".repeat(300), "aaaaaaaaaaaa"])
      expect([Password.slice(0, 12), (await signUp({ Password })).status]).toEqual([
        Password.slice(0, 12),
        400,
      ]);
    expect((await signUp({ Email: "no mailbox" })).status).toBe(400);
    expect(JSON.stringify((await signUp({ Password: "short" })).body)).not.toContain("short");
  });

  it("is kept with a slow hash, and none of it in clear", async () => {
    const { rows } = await sql<{ all: string }>`
      select (select json_agg(u) from users u)::text || (select json_agg(r) from oauth_records r)::text as all`.execute(
      first.control.db.run,
    );
    expect(rows[0]!.all).toContain("$argon2id$v=19$m=19456,t=2,p=1$");
    expect(rows[0]!.all).not.toContain(PASSWORD);
  });
});

describe("a sign-in", () => {
  it("ends on every replica when its person signs out everywhere, changes the password, or is deleted", async () => {
    await using alone = await startInstallation({ withHost: false });
    const other = await registerProgram(alone.url, alone.adminKey);
    const ada = await alone.person(other);
    const again = await signIn(alone.url, other, ada.email);
    expect((await ada("POST", "/cdb/users/me/sign-out")).status).toBe(204);
    for (const { access_token } of [ada.tokens, again])
      expect((await me(alone, access_token)).status).toBe(401);

    const back = await signIn(alone.url, other, ada.email);
    const call = callerOf(alone.url, back.access_token);
    const ask = { Current: PASSWORD, Password: "another horse battery" };
    const wrong = await call("POST", "/cdb/users/me/password", { ...ask, Current: "not this one" });
    expect([wrong.status, wrong.body.Code]).toEqual([403, "identity.wrong-password"]);
    expect((await call("POST", "/cdb/users/me/password", ask)).status).toBe(204);
    expect((await me(alone, back.access_token)).status).toBe(401);
    const refreshed = await alone.anyone("POST", "/cdb/oauth2/token", {
      ...{ grant_type: "refresh_token", refresh_token: back.refresh_token, client_id: other.clientId },
    });
    expect(refreshed.body.error).toBe("invalid_grant");
    await expect(signIn(alone.url, other, ada.email)).rejects.toThrow(/no code/);

    const bob = await alone.person(other);
    const gone = await callerOf(alone.url, alone.adminKey)("DELETE", `/platform/v1/users/${bob.userId}`);
    expect(gone.status).toBe(204);
    expect((await bob("GET", "/cdb/users/me")).status).toBe(401);
    await expect(signIn(alone.url, other, bob.email)).rejects.toThrow(/no code/);
    // The mailbox is free, and whoever has it next is somebody else.
    const next = await makeUser(alone.url, alone.adminKey, bob.email);
    expect(next).not.toBe(bob.userId);
    expect((await bob("GET", "/cdb/users/me")).status).toBe(401);
  });

  it("ends with the program it was made at", async () => {
    await using alone = await startInstallation({ withHost: false });
    const ada = await alone.person();
    const { clientId } = ada.program;
    const admin = callerOf(alone.url, alone.adminKey);
    expect((await admin("DELETE", `/platform/v1/oauth-clients/${clientId}`)).status).toBe(204);
    expect((await ada("GET", "/cdb/users/me")).status).toBe(401);
    expect((await admin("DELETE", `/platform/v1/oauth-clients/${clientId}`)).status).toBe(404);
  });

  it("up without an invitation is refused where it is not open", async () => {
    await using alone = await startInstallation({ withHost: false });
    const ask = { Email: newEmail(), Password: PASSWORD, Name: "Eve" };
    expect((await alone.anyone("POST", "/cdb/users", ask)).body.Code).toBe("identity.sign-up-closed");
    const guessed = { ...ask, Invitation: `cm_inv_${"A".repeat(32)}` };
    expect((await alone.anyone("POST", "/cdb/users", guessed)).body.Code).toBe("identity.invitation");
    // Nothing was made of it.
    expect(await makeUser(alone.url, alone.adminKey, ask.Email)).toEqual(expect.any(String));
  });
});
