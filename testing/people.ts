// SPDX-License-Identifier: Apache-2.0
/** People who sign in as people do: at the page, with a password, back to a program with a code. */
import { openBrowser } from "./browser.ts";
import { type Caller, callerOf } from "./caller.ts";

export const CALLBACK = "https://app.example/callback";
export const PASSWORD = "correct horse battery";

export interface Program {
  clientId: string;
  clientSecret: string | null;
}

export interface Tokens {
  access_token: string;
  refresh_token: string;
  expires_in: string;
  expires_at: number;
  token_type: string;
  id_token?: string;
  scope?: string;
}

export interface Person {
  userId: string;
  email: string;
  tokens: Tokens;
  program: Program;
}

export async function registerProgram(
  url: string,
  adminKey: string,
  change: Record<string, unknown> = {},
): Promise<Program> {
  const ask = { name: "console", redirect_uris: [CALLBACK], confidential: false, ...change };
  const { status, body, text } = await callerOf(url, adminKey)("POST", "/platform/v1/oauth-clients", ask);
  if (status !== 201) throw new Error(text);
  return { clientId: body.client_id, clientSecret: body.client_secret };
}

export async function makeUser(url: string, adminKey: string, email: string): Promise<string> {
  const ask = { email, name: email.split("@")[0], password: PASSWORD };
  const { status, body, text } = await callerOf(url, adminKey)("POST", "/platform/v1/users", ask);
  if (status !== 201) throw new Error(text);
  return body.user_id;
}

/** Signs in with a browser and exchanges the code, with only the members that are documented. */
export async function signIn(url: string, { clientId }: Program, email: string): Promise<Tokens> {
  const browser = openBrowser(url);
  await browser.get(`/authorize?client_id=${clientId}&redirect_url=${encodeURIComponent(CALLBACK)}&state=s`);
  const back = await browser.submit({ do: "password", email, password: PASSWORD });
  const code = new URL(back.url).searchParams.get("code");
  if (code === null) throw new Error(`no code: ${back.status} ${back.url} ${back.text}`);
  const { body } = await exchange(url, { code, redirect_uri: CALLBACK, client_id: clientId });
  return body;
}

export const exchange = (url: string, members: Record<string, string>) =>
  callerOf(url, null)(
    "POST",
    "/cdb/oauth2/token",
    new URLSearchParams({ grant_type: "authorization_code", ...members }).toString(),
    { "content-type": "application/x-www-form-urlencoded" },
  );

let made = 0;
export async function person(url: string, adminKey: string, program?: Program): Promise<Caller & Person> {
  const its = program ?? (await registerProgram(url, adminKey));
  const email = `p${++made}-${Math.random().toString(36).slice(2)}@example.com`;
  const userId = await makeUser(url, adminKey, email);
  const tokens = await signIn(url, its, email);
  return Object.assign(callerOf(url, tokens.access_token), { userId, email, tokens, program: its });
}
