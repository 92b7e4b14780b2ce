// SPDX-License-Identifier: Apache-2.0
/**
 * Between what a client asks and what a person answers. The library keeps the question in the database
 * and its name in a cookie of this browser; without that cookie nobody answers, so an address of a
 * question that is sent to somebody else leads them nowhere.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { sql } from "kysely";
import type Provider from "oidc-provider";
import { errors } from "oidc-provider";
import type { Database } from "../../database/open.ts";
import { SCOPES } from "../identity/index.ts";

export interface Question {
  /** Its name, which the browser has in its address too. */
  id: string;
  /** `login`: who are you; `consent`: may this program act for you, who are known already. */
  prompt: "login" | "consent";
  clientName: string;
  /** Where the browser goes with the answer: an origin, or the scheme of an app; null: nowhere (a device). */
  returnsTo: string | null;
  /** The user who is signed in here already. */
  userId: string | null;
  /** What to put into the form. */
  email: string;
}

interface Asked {
  uid: string;
  prompt: { name: string };
  params: Record<string, unknown>;
  session?: { accountId: string; uid: string } | undefined;
  grantId?: string | undefined;
  deviceCode?: string | undefined;
  exp: number;
  save(ttl: number): Promise<unknown>;
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");

/** Null: this browser was asked nothing, or too long ago. */
export async function readQuestion(
  provider: Provider,
  request: IncomingMessage,
  reply: ServerResponse,
): Promise<Question | null> {
  const asked = await find(provider, request, reply);
  if (asked === null) return null;
  const client = await provider.Client.find(text(asked.params.client_id));
  const uri = URL.parse(text(asked.params.redirect_uri));
  return {
    id: asked.uid,
    prompt: asked.prompt.name === "login" ? "login" : "consent",
    clientName: client?.clientName ?? text(asked.params.client_id),
    returnsTo: uri === null ? null : uri.origin === "null" ? uri.protocol : uri.origin,
    userId: asked.session?.accountId ?? null,
    email: text(asked.params.login_hint).slice(0, 254),
  };
}

/** The person is `userId`, and says yes to what was asked. */
export async function answerQuestion(
  { provider, db, grantS, issuer }: { provider: Provider; db: Database; grantS: number; issuer: string },
  request: IncomingMessage,
  reply: ServerResponse,
  userId: string,
): Promise<void> {
  const asked = await find(provider, request, reply);
  if (asked === null) throw new errors.SessionNotFound("no question");
  const clientId = text(asked.params.client_id);
  if (asked.session !== undefined && asked.session.accountId !== userId) await leave(provider, asked);
  const known = asked.grantId === undefined ? undefined : await provider.Grant.find(asked.grantId);
  // What was granted to another who was signed in here before is not this person's.
  // Nor is a device another one's: each has a sign-in of its own, which can be ended alone.
  const grant =
    known !== undefined && known.accountId === userId && asked.deviceCode === undefined
      ? known
      : new provider.Grant({ accountId: userId, clientId });
  const scopes = text(asked.params.scope).split(" ");
  grant.addOIDCScope(scopes.filter((scope) => !scope.includes(":")).join(" "));
  const narrowed = SCOPES.filter((scope) => scopes.includes(scope));
  if (narrowed.length > 0) grant.addResourceScope(issuer, narrowed.join(" "));
  const grantId = await grant.save();
  await sql`
    insert into sign_ins (sid, user_id, client_id, expires_at)
    values (${grantId}, ${userId}, ${clientId}, now() + make_interval(secs => ${grantS}))
    on conflict (sid) do update set expires_at = excluded.expires_at`.execute(db.run);
  await provider.interactionFinished(
    request,
    reply,
    { login: { accountId: userId, remember: false }, consent: { grantId } },
    { mergeWithLastSubmission: false },
  );
}

/** Somebody else sits down at this browser: who was signed in here before is signed out here first. */
async function leave(provider: Provider, asked: Asked): Promise<void> {
  const session = await provider.Session.findByUid(asked.session!.uid);
  await session?.destroy();
  delete asked.session;
  await asked.save(asked.exp - Math.floor(Date.now() / 1000));
}

export async function refuseQuestion(
  provider: Provider,
  request: IncomingMessage,
  reply: ServerResponse,
): Promise<void> {
  await provider.interactionFinished(
    request,
    reply,
    { error: "access_denied", error_description: "the person refused" },
    { mergeWithLastSubmission: false },
  );
}

async function find(
  provider: Provider,
  request: IncomingMessage,
  reply: ServerResponse,
): Promise<Asked | null> {
  const name = /^\/sign-in\/([\w-]{1,64})$/.exec((request.url ?? "").split("?")[0]!)?.[1];
  try {
    const asked = await provider.interactionDetails(request, reply);
    // The path says which, so that two pages in one browser are not taken for each other.
    return asked.uid === name ? (asked as unknown as Asked) : null;
  } catch (error) {
    if (error instanceof errors.SessionNotFound) return null;
    throw error;
  }
}
