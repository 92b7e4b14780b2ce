// SPDX-License-Identifier: Apache-2.0
/**
 * The first thing that happens to a request, before a byte of its body is read: who is it, may they
 * call this, and are they within their rate. An unauthenticated caller can make us do one indexed
 * lookup, on some routes a second one that needs no more than the path (Route.ahead), and nothing more.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import { Fault } from "#contract/errors.ts";
import type { Operation, Surface } from "#contract/operation.ts";
import {
  type Account,
  type Actor,
  act,
  authenticate,
  type Bearer,
  countAddress,
  type Principal,
  parseActAs,
} from "../core/identity/index.ts";
import type { Database } from "../database/open.ts";
import { clientAddress } from "./client-address.ts";

export interface Caller {
  principal: Principal | null;
  account: Account | null;
  actor: Actor | null;
  now: Date;
}

const WINDOW_S = 60;
/** A host beats every few seconds and says what befalls its workloads; a stolen key is no way to keep us busy. */
const HOST_RPM = 600;
/** An edge server polls for half a minute at a time, and says what it does now and then. */
const SERVER_RPM = 300;

export interface RecogniseDeps {
  db: Database;
  /** Requests per minute of a key; null is unlimited. */
  rpmOf(surface: Surface, tier: string): number | null;
  ingressProofHash: Buffer | null;
  /** Throws for what is no access token of ours. */
  readToken(given: string): Promise<Bearer>;
}

export const recognise = (
  deps: RecogniseDeps,
  operation: Operation,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Caller> =>
  (operation.access === "bearer" ? recogniseBearer : recogniseKey)(deps, operation, request, reply);

/** Whoever acts is looked up with whom they act for, on every call (core/identity/act-as.ts). */
async function recogniseBearer(
  { db, rpmOf, readToken }: RecogniseDeps,
  operation: Operation,
  { headers }: FastifyRequest,
  reply: FastifyReply,
): Promise<Caller> {
  const given = /^Bearer +([^\s]+)$/i.exec(headers.authorization ?? "")?.[1];
  if (given === undefined) throw new Fault("identity.token");
  const bearer = await readToken(given);
  const acting = await act(db.quick, bearer, parseActAs(headers["x-act-as-kind"], headers["x-act-as-id"]));
  if (acting === null) throw new Fault("identity.token");
  const { actor, account, used, windowStart, now } = acting;
  const rpm = rpmOf(operation.surface, account.tier);
  if (rpm !== null) limit(reply, rpm, used, windowStart, now);
  if (operation.scope !== undefined && !actor.scopes.some((scope) => scope === operation.scope))
    throw new Fault("identity.scope", { scope: operation.scope });
  return { principal: null, account, actor, now };
}

async function recogniseKey(
  { db, rpmOf, ingressProofHash }: RecogniseDeps,
  operation: Operation,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Caller> {
  if (operation.access === "public" || operation.access === "signed" || isNobody(operation, request)) {
    if (operation.perAddressRpm === undefined)
      return { principal: null, account: null, actor: null, now: new Date() };
    const { used, windowStart, now } = await countAddress(
      db.quick,
      operation.id,
      clientAddress(request, ingressProofHash),
    );
    limit(reply, operation.perAddressRpm, used, windowStart, now);
    return { principal: null, account: null, actor: null, now };
  }
  const presented = keyOf(operation, request);
  const found = presented === undefined ? null : await authenticate(db.quick, presented);
  const server = operation.access === "server" || operation.access === "serverOrAnyone";
  const refused = server ? "identity.token" : "identity.unauthorized";
  if (found === null) throw new Fault(refused);
  const { principal, used, windowStart, now } = found;
  if (server) {
    if (principal.serverId === null) throw new Fault(refused);
    limit(reply, SERVER_RPM, used, windowStart, now);
    return { principal, account: null, actor: null, now };
  }
  const operator = principal.account === null && principal.scopes.includes("*");
  if (operation.access === "host" || operation.access === "hostOrAdmin") {
    if (principal.hostId === null && !(operator && operation.access === "hostOrAdmin"))
      throw new Fault("identity.unauthorized");
    if (principal.hostId !== null) limit(reply, HOST_RPM, used, windowStart, now);
    return { principal, account: null, actor: null, now };
  }
  if (operation.access === "admin" || (operation.access === "either" && operator)) {
    // Workloads clients know one refusal of a key, and it is this one.
    if (!operator)
      throw new Fault(operation.surface === "workloads" ? "identity.unauthorized" : "identity.forbidden");
    return { principal, account: null, actor: null, now };
  }
  // A key is made for one surface. The operator has no account, so no resource of a surface is theirs.
  const { surface, account } = principal;
  const strange = strangeKey(operation);
  if (account === null || !(operation.access === "account" || opens(surface, operation.surface)))
    throw new Fault(strange);
  // What is the account's concerns all its surfaces: a key that was narrowed within one must not widen there.
  const wide = operation.access !== "account" || principal.scopes.includes(`${surface}:*`);
  if (!wide || !covers(principal.scopes, operation))
    // A registry's clients would ask for another password after a 401.
    throw new Fault(operation.surface === "registry" ? "identity.forbidden" : strange);
  const rpm = rpmOf(surface as Surface, account.tier);
  if (rpm !== null) limit(reply, rpm, used, windowStart, now);
  return { principal, account, actor: null, now };
}

/** A key that opens nothing is refused, and not overlooked: who shows one believes to be somebody. */
const isNobody = ({ access }: Operation, { headers }: FastifyRequest): boolean =>
  access === "serverOrAnyone" && headers.authorization === undefined && headers["x-api-key"] === undefined;

/** What is said to a key that is one, and not for this: clients of instances know 403 for it, those of the older surfaces 401. */
const strangeKey = ({ surface }: Operation) =>
  surface === "instances" ? "identity.forbidden" : "identity.unauthorized";

/** Images are what workloads run: their keys push and pull. What a host is lent to pull opens nothing else. */
const opens = (made: string, surface: Surface): boolean =>
  made === surface || (surface === "registry" && made === "workloads");

/** Clients of the workloads surface send their key in a field of its own, or as everybody does. */
function keyOf({ surface, access }: Operation, { headers }: FastifyRequest): string | undefined {
  const basic =
    surface === "registry" ? /^Basic +([^\s]+)$/i.exec(headers.authorization ?? "")?.[1] : undefined;
  // The user's name says nothing here: the password is the key.
  if (basic !== undefined)
    return Buffer.from(basic, "base64").toString("latin1").split(":").slice(1).join(":");
  const own = surface === "workloads" || access === "account" ? headers["x-api-key"] : undefined;
  if (typeof own === "string") return own.trim();
  const given = /^Bearer +([^\s]+)$/i.exec(headers.authorization ?? "")?.[1];
  // The seed's quickstart writes the same key in another way.
  return surface === "instances"
    ? given?.replace(/^confai_live_(?=[0-9a-z]{8}_[0-9a-z]{18}$)/, "ca_")
    : given;
}

/** `surface:*` covers everything, a narrowed key what its scope says and what asks for none. */
function covers(scopes: readonly string[], { surface, scope }: Operation): boolean {
  const all = `${surface === "registry" ? "workloads" : surface}:*`;
  return scope === undefined || scopes.includes(all) || scopes.includes(scope);
}

/** RateLimit fields in the form of the IETF draft, on every limited answer. */
function limit(reply: FastifyReply, quota: number, used: number, windowStart: Date, now: Date): void {
  const resetS = Math.max(1, Math.ceil((windowStart.getTime() + WINDOW_S * 1000 - now.getTime()) / 1000));
  reply.header("ratelimit-policy", `"minute";q=${quota};w=${WINDOW_S}`);
  reply.header("ratelimit", `"minute";r=${Math.max(0, quota - used)};t=${resetS}`);
  if (used > quota) throw new Fault("limits.rate", { seconds: resetS }, { retryAfterSeconds: resetS });
}
