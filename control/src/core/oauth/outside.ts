// SPDX-License-Identifier: Apache-2.0
/**
 * Signing in through an OpenID Connect provider outside, by `openid-client`.
 *
 *  A. Somebody is known by that provider's own name for them (issuer and subject) and by nothing else. An
 *     e-mail address never leads to a user who is there: whoever has the address there would be them here.
 *  B. What comes back belongs to one question of one browser (interactions.ts): the way on ends at the
 *     question's own address, which only the cookie of the browser that was asked opens. A way back that
 *     is sent to somebody else leads them nowhere.
 *  C. Each way back is good once: state, nonce and PKCE verifier are kept sealed, and consumed.
 */
import { readFileSync } from "node:fs";
import { sql } from "kysely";
import * as client from "openid-client";
import { Fault } from "#contract/errors.ts";
import type { Database } from "../../database/open.ts";
import { addUser, requireEmail } from "../identity/index.ts";
import type { Vault } from "../vault/index.ts";
import { Records } from "./records.ts";

export interface OutsideConfig {
  issuer: string;
  clientId: string;
  /** Null: a public client. */
  clientSecretFile: string | null;
  /** What people know it by. */
  name: string;
  /** Whoever comes with an address that is new here becomes a user. */
  signUp: boolean;
  /** It gives only addresses that it has checked, though it does not say so. */
  trustEmail: boolean;
}

export interface Outside {
  name: string;
  /** Where to send the browser that has this question. */
  begin(question: string): Promise<URL>;
  /** Of what came back: the question, and a word that answers it once. */
  finish(query: string): Promise<{ question: string; ticket: string }>;
  /** The user; null: the word answers no such question, or did before. */
  take(ticket: string, question: string): Promise<string | null>;
}

interface Deps {
  db: Database;
  vault: Vault;
  issuer(): string;
  jurisdiction: string;
}

interface Pending {
  question: string;
  verifier: string;
  nonce: string;
}

const CALLBACK = "/sign-in-outside";
const WAIT_S = 600;
const TICKET_S = 60;
const TIMEOUT_S = 10;
const LOOPBACK = /^http:\/\/(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?(\/|$)/;

export function openOutside(deps: Deps, config: OutsideConfig): Outside {
  const { db, vault, issuer } = deps;
  const pending = new Records("OutsidePending", db, vault);
  const tickets = new Records("OutsideTicket", db, vault);
  let found: Promise<client.Configuration> | null = null;
  const provider = () => {
    found ??= discover(config).catch((cause) => {
      // Asked again by whoever comes next: it may be back by then.
      found = null;
      throw new Fault(
        "identity.outside",
        { detail: `${config.name} does not answer. Try again later.` },
        { cause },
      );
    });
    return found;
  };
  return {
    name: config.name,
    async begin(question) {
      const [state, nonce, verifier] = [
        client.randomState(),
        client.randomNonce(),
        client.randomPKCECodeVerifier(),
      ];
      const its = await provider();
      await pending.upsert(state, { question, verifier, nonce } as never, WAIT_S);
      return client.buildAuthorizationUrl(its, {
        ...{ redirect_uri: `${issuer()}${CALLBACK}`, scope: "openid email profile", state, nonce },
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
      });
    },
    async finish(query) {
      const state = new URLSearchParams(query).get("state") ?? "";
      const { question, verifier, nonce } = await consume<Pending>(pending, state);
      const claims = await exchange(await provider(), new URL(`${issuer()}${CALLBACK}?${query}`), {
        ...{ expectedState: state, expectedNonce: nonce, pkceCodeVerifier: verifier, idTokenExpected: true },
      });
      const user = await userOf(deps, config, claims);
      const ticket = client.randomState();
      await tickets.upsert(ticket, { question, user } as never, TICKET_S);
      return { question, ticket };
    },
    async take(ticket, question) {
      const kept = await consume<{ question: string; user: string }>(tickets, ticket).catch(() => null);
      return kept?.question === question ? kept.user : null;
    },
  };
}

async function consume<T>(records: Records, id: string): Promise<T> {
  const over = () => new Fault("identity.outside", { detail: "This way back was used, or is too old." });
  const kept = (await records.find(id)) as (T & { consumed?: unknown }) | undefined;
  if (kept === undefined || kept.consumed !== undefined) throw over();
  await records.consume(id).catch(() => {
    throw over();
  });
  return kept;
}

async function discover({
  issuer,
  clientId,
  clientSecretFile,
}: OutsideConfig): Promise<client.Configuration> {
  const secret = clientSecretFile === null ? undefined : readFileSync(clientSecretFile, "utf8").trim();
  const its = await client.discovery(
    new URL(issuer),
    clientId,
    secret,
    secret === undefined ? client.None() : client.ClientSecretBasic(secret),
    { timeout: TIMEOUT_S, ...(LOOPBACK.test(issuer) ? { execute: [client.allowInsecureRequests] } : {}) },
  );
  // The library would believe an identity token by the connection it came over; we want its signature.
  client.enableNonRepudiationChecks(its);
  return its;
}

async function exchange(
  its: client.Configuration,
  back: URL,
  checks: client.AuthorizationCodeGrantChecks,
): Promise<client.IDToken> {
  try {
    const claims = (await client.authorizationCodeGrant(its, back, checks)).claims();
    if (claims !== undefined) return claims;
  } catch (cause) {
    throw new Fault("identity.outside", { detail: "The provider's answer does not hold." }, { cause });
  }
  throw new Fault("identity.outside", { detail: "The provider said nothing about who you are." });
}

/** Throws when there is none and none may be made. */
async function userOf(
  { db, jurisdiction }: Deps,
  { signUp, trustEmail, name: provider }: OutsideConfig,
  { iss, sub, email, email_verified: verified, name }: client.IDToken,
): Promise<string> {
  const { rows } = await sql<{ user_id: string }>`
    select i.user_id from outside_identities i join parties p on p.id = i.user_id and p.deleted_at is null
    where i.issuer = ${iss} and i.subject = ${sub}`.execute(db.run);
  if (rows[0] !== undefined) return rows[0].user_id;
  const refuse = (detail: string) => new Fault("identity.outside", { detail });
  if (!signUp) throw refuse("There is no user here who signs in this way.");
  if (typeof email !== "string" || !(verified === true || trustEmail))
    throw refuse(`${provider} has not shown an e-mail address of yours.`);
  const address = requireEmail(email);
  return db.write(async (tx) => {
    const shown = typeof name === "string" && /^[^\p{Cc}]{1,200}$/u.test(name) ? name : address;
    const made = await addUser(tx, { email: address, name: shown, passwordHash: null, jurisdiction }).catch(
      (error) => {
        if (!(error instanceof Fault) || error.code !== "identity.email-taken") throw error;
        throw refuse("There is a user with this e-mail address, who signs in with a password.");
      },
    );
    await sql`
      insert into outside_identities (issuer, subject, user_id) values (${iss}, ${sub}, ${made.id})`.execute(
      tx,
    );
    return made.id;
  });
}
