// SPDX-License-Identifier: Apache-2.0
/**
 * The authorization server: `oidc-provider`, told what is ours about it. Its endpoints are reached through
 * the operations of contract/identity/oauth.ts only.
 *
 *  A. The issuer is configured (or what we listen on), never what a request calls us: whoever sends
 *     another Host or X-Forwarded-* changes no address in any answer.
 *  B. Keys change while we run, and the library takes them when it is made. It keeps nothing between
 *     requests that the database has not (records.ts), so it is simply made again.
 *  C. Access tokens are JWTs for this API and for nothing else; refresh tokens are opaque and rotate.
 */
import { timingSafeEqual } from "node:crypto";
import { IncomingMessage, type ServerResponse } from "node:http";
import Provider, { type Configuration, errors, type KoaContextWithOIDC } from "oidc-provider";
import type { Database } from "../../database/open.ts";
import { SCOPES } from "../identity/index.ts";
import type { Vault } from "../vault/index.ts";
import { ACCESS_TYPE } from "./access-token.ts";
import { secretAsKept } from "./clients.ts";
import type { SigningKeys } from "./keys.ts";
import { Records } from "./records.ts";

export const PATHS = {
  authorization: "/authorize",
  token: "/cdb/oauth2/token",
  jwks: "/cdb/oauth2/jwks",
} as const;

export interface AuthorizationServerDeps {
  db: Database;
  vault: Vault;
  keys: SigningKeys;
  /** Signs cookies; the same on all replicas. */
  cookieKey: string;
  issuer(): string;
  accessTokenS: number;
  onError(error: unknown): void;
}

export interface AuthorizationServer {
  /** Writes the whole answer to `reply`; `body` is what the client sent, already read. */
  answer(request: IncomingMessage, body: Buffer, reply: ServerResponse): Promise<void>;
}

export function openAuthorizationServer(deps: AuthorizationServerDeps): AuthorizationServer {
  let made: { for: object; issuer: string; handle: ReturnType<Provider["callback"]> } | null = null;
  const current = () => {
    const set = deps.keys.current();
    const issuer = deps.issuer();
    if (made?.for !== set || made.issuer !== issuer)
      made = { for: set, issuer, handle: makeProvider(deps, issuer).callback() };
    return made;
  };
  return {
    async answer(request, body, reply) {
      const { handle, issuer } = current();
      await handle(asTheIssuers(request, body, new URL(issuer)), reply);
    },
  };
}

/** The request again, with its body to be read once more, and called by our own name (A). */
function asTheIssuers(request: IncomingMessage, body: Buffer, issuer: URL): IncomingMessage {
  const again = new IncomingMessage(request.socket);
  again.method = request.method!;
  again.url = request.url!;
  again.httpVersion = request.httpVersion;
  const headers = Object.entries(request.headers).filter(([name]) => !/^x-forwarded-|^forwarded$/.test(name));
  again.headers = {
    ...Object.fromEntries(headers),
    host: issuer.host,
    "x-forwarded-proto": issuer.protocol.slice(0, -1),
    "content-length": String(body.length),
  };
  delete again.headers["transfer-encoding"];
  again.push(body);
  again.push(null);
  again.complete = true;
  return again;
}

function makeProvider(deps: AuthorizationServerDeps, issuer: string): Provider {
  const provider = new Provider(issuer, configuration(deps, issuer));
  // Told by x-forwarded-proto, which only asTheIssuers writes.
  provider.proxy = true;
  const client = provider.Client.prototype as unknown as {
    clientSecret?: string;
    compareClientSecret(given: string): boolean;
  };
  client.compareClientSecret = function compare(given) {
    const [mine, theirs] = [Buffer.from(this.clientSecret ?? ""), Buffer.from(secretAsKept(given))];
    return mine.length === theirs.length && timingSafeEqual(mine, theirs);
  };
  provider.on("server_error", (_context, error) => deps.onError(error));
  provider.use(asDocumented);
  return provider;
}

function configuration(
  { db, vault, keys, cookieKey, accessTokenS }: AuthorizationServerDeps,
  issuer: string,
) {
  const set = keys.current();
  return {
    adapter: (model: string) => new Records(model, db, vault),
    jwks: { keys: set.secret as never },
    cookies: { keys: [cookieKey] },
    routes: { ...PATHS },
    clientAuthMethods: ["client_secret_basic", "client_secret_post", "none"],
    extraClientMetadata: { properties: ["require_pkce"] },
    responseTypes: ["code"],
    scopes: ["openid", "offline_access"],
    enabledJWA: { idTokenSigningAlgValues: ["RS256"] },
    ttl: { ClientCredentials: accessTokenS },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => issuer,
        // A client may name the API as it likes to; there is one, and it is this.
        getResourceServerInfo: () => ({
          scope: SCOPES.join(" "),
          audience: issuer,
          accessTokenTTL: accessTokenS,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: "RS256", kid: set.signing } },
        }),
        useGrantedResource: () => true,
      },
    },
    formats: { customizers: { jwt: (context, _token, parts) => claim(context, parts) } },
  } satisfies Configuration;
}

/** The claims that are documented of the original, and `uid`, by which we know a user. */
function claim({ oidc }: KoaContextWithOIDC, { payload }: { payload: Record<string, unknown> }): void {
  refuseMisspelt(String(oidc.params?.scope ?? ""));
  payload.typ = ACCESS_TYPE;
}

/** A narrowing that we do not know must not become a token that was not narrowed. */
function refuseMisspelt(asked: string): void {
  const wrong = asked.split(" ").find((scope) => /^[a-z_]+:[a-z_]+$/.test(scope) && !isScope(scope));
  if (wrong !== undefined) throw new errors.InvalidScope("there is no such permission", wrong);
}

const isScope = (text: string): boolean => (SCOPES as readonly string[]).includes(text);

/** `expires_in` is a string of seconds there, and `expires_at` is said too, in milliseconds. */
async function asDocumented(context: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
  await next();
  const body = context.body as Record<string, unknown> | undefined;
  if (context.path !== PATHS.token || context.status !== 200 || typeof body?.expires_in !== "number") return;
  context.body = {
    ...body,
    token_type: "bearer",
    expires_in: String(body.expires_in),
    expires_at: Date.now() + body.expires_in * 1000,
  };
}
