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
import { findUser, SCOPES } from "../identity/index.ts";
import type { Vault } from "../vault/index.ts";
import { secretAsKept } from "./clients.ts";
import { type DevicePages, deviceFlow, type ShownPage, showPage } from "./device-pages.ts";
import { answerQuestion, type Question, readQuestion, refuseQuestion } from "./interactions.ts";
import type { SigningKeys } from "./keys.ts";
import { Records } from "./records.ts";
import { answerForStructured } from "./structured-tokens.ts";
import { claim } from "./token-claims.ts";

const PATHS = {
  authorization: "/authorize",
  token: "/cdb/oauth2/token",
  jwks: "/cdb/oauth2/jwks",
  revocation: "/cdb/oauth2/revoke",
  introspection: "/cdb/oauth2/introspect",
  device_authorization: "/cdb/oauth2/device",
  code_verification: "/device",
} as const;
/** How long a browser is known, and how long a sign-in may be renewed. */
const SESSION_S = 14 * 86_400;
const GRANT_S = 30 * 86_400;

type Exchange = [request: IncomingMessage, reply: ServerResponse];

export interface AuthorizationServerDeps {
  db: Database;
  vault: Vault;
  keys: SigningKeys;
  /** Signs cookies; the same on all replicas. */
  cookieKey: string;
  issuer(): string;
  accessTokenS: number;
  onError(error: unknown): void;
  /** What a person is shown when a request cannot be answered to its client. */
  pages: DevicePages & { error(message: string): ShownPage };
}

export interface AuthorizationServer {
  /** Writes the whole answer to `reply`; `body` is what the client sent, already read. */
  answer(request: IncomingMessage, body: Buffer, reply: ServerResponse): Promise<void>;
  /** What this browser is asked; null: nothing. */
  question(...exchange: Exchange): Promise<Question | null>;
  /** Writes the way on, as the user who was found to be there. */
  proceed(...exchange: [...Exchange, userId: string]): Promise<void>;
  refuse(...exchange: Exchange): Promise<void>;
  /** Throws when these are no metadata of a client. */
  checkClient(metadata: Record<string, unknown>): Promise<void>;
}

export function openAuthorizationServer(deps: AuthorizationServerDeps): AuthorizationServer {
  let made: { of: string; issuer: string; provider: Provider } | null = null;
  const current = () => {
    // The one that signs comes first, so that another order is another set.
    const of = deps.keys
      .current()
      .secret.map(({ kid }) => kid)
      .join(" ");
    const issuer = deps.issuer();
    if (made?.of !== of || made.issuer !== issuer)
      made = { of, issuer, provider: makeProvider(deps, issuer) };
    return made;
  };
  const none = Buffer.alloc(0);
  const ours = (request: IncomingMessage) => asTheIssuers(request, none, new URL(current().issuer));
  return {
    async answer(request, body, reply) {
      const { provider, issuer } = current();
      await provider.callback()(asTheIssuers(request, body, new URL(issuer)), reply);
    },
    question: (request, reply) => readQuestion(current().provider, ours(request), reply),
    proceed: (request, reply, userId) => {
      const { provider, issuer } = current();
      return answerQuestion({ provider, issuer, db: deps.db, grantS: GRANT_S }, ours(request), reply, userId);
    },
    refuse: (request, reply) => refuseQuestion(current().provider, ours(request), reply),
    checkClient: async (metadata) => {
      const { Client } = current().provider;
      await (Client as unknown as { validate(metadata: object): Promise<void> }).validate(metadata);
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
  // Koa would print what nobody hears.
  (provider as NodeJS.EventEmitter).on("error", deps.onError);
  provider.use(async (context, next) => {
    try {
      await next();
    } catch (error) {
      if (!neverSaved(context as KoaContextWithOIDC)) throw error;
      showPage(context as KoaContextWithOIDC, deps.pages.error("This page is over. Begin again."));
      context.status = 400;
    }
  });
  provider.use(asDocumented);
  provider.use(async (context, next) => {
    await next();
    await answerForStructured(deps, issuer, context as KoaContextWithOIDC);
  });
  return provider;
}

function configuration(deps: AuthorizationServerDeps, issuer: string) {
  const { db, vault, keys, cookieKey, accessTokenS, pages } = deps;
  const set = keys.current();
  return {
    adapter: (model: string) => new Records(model, db, vault),
    jwks: { keys: set.secret as never },
    cookies: { keys: [cookieKey] },
    routes: { ...PATHS },
    clientAuthMethods: ["client_secret_basic", "client_secret_post", "none"],
    extraClientMetadata: { properties: ["require_pkce"] },
    pkce: { required: (_context, client) => client.require_pkce === true },
    responseTypes: ["code"],
    scopes: ["openid", "offline_access", "email"],
    claims: { openid: ["sub"], email: ["email"] },
    enabledJWA: { idTokenSigningAlgValues: ["RS256"] },
    ttl: {
      ...{ ClientCredentials: accessTokenS, AccessToken: accessTokenS, IdToken: accessTokenS },
      ...{ AuthorizationCode: 60, Interaction: 900, Session: SESSION_S, Grant: GRANT_S },
      ...{ RefreshToken: GRANT_S, DeviceCode: 600 },
    },
    // Nothing else of ours tells it: there is no userinfo.
    conformIdTokenClaims: false,
    // A page may exchange its code from where it was registered to go back to, and from nowhere else.
    clientBasedCORS: (_context, origin, client) =>
      (client.redirectUris ?? []).some((uri) => URL.parse(uri)?.origin === origin),
    interactions: { url: (_context, interaction) => `/sign-in/${interaction.uid}` },
    findAccount: async (_context, id) => {
      const user = await findUser(db.run, id);
      return user && { accountId: user.id, claims: () => ({ sub: user.id, email: user.email }) };
    },
    // The original gives one with every sign-in; ours rotates, and ends with its sign-in.
    issueRefreshToken: (_context, client) => client.grantTypeAllowed("refresh_token"),
    rotateRefreshToken: true,
    expiresWithSession: () => false,
    renderError: (context, { error, error_description: detail }) => {
      showPage(context, pages.error(detail ?? error));
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      deviceFlow: deviceFlow(pages),
      revocation: { enabled: true, allowedPolicy: isOwn },
      introspection: { enabled: true, allowedPolicy: isOwn },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => issuer,
        getResourceServerInfo: (_context, resource) => {
          if (resource !== issuer) throw new errors.InvalidTarget();
          return {
            ...{ scope: SCOPES.join(" "), audience: issuer, accessTokenTTL: accessTokenS },
            accessTokenFormat: "jwt",
            jwt: { sign: { alg: "RS256", kid: set.signing } },
          };
        },
        useGrantedResource: () => true,
      },
    },
    formats: { customizers: { jwt: (context, token, parts) => claim(db, context, token, parts) } },
  } satisfies Configuration;
}

/** A device's form from a browser that we do not know: the library writes the session of a page that it refuses, and has none. */
const neverSaved = ({ oidc }: KoaContextWithOIDC): boolean =>
  (oidc.route === "code_verification" || oidc.route === "device_resume") &&
  oidc.session !== undefined &&
  oidc.session.exp === undefined;

const isOwn = (
  _context: KoaContextWithOIDC,
  client: { clientId: string },
  token: { clientId?: string | undefined },
): boolean => token.clientId === client.clientId;

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
