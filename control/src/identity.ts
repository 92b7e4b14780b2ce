// SPDX-License-Identifier: Apache-2.0
/** Who is who on models and devices: the authorization server, the people, and the reading of what they show. */
import { randomBytes } from "node:crypto";
import type { ControlConfig } from "./config.ts";
import { type Bearer, openPasswords, readServiceToken } from "./core/identity/index.ts";
import {
  isLegacyToken,
  openAuthorizationServer,
  openLegacySignIns,
  openOutside,
  openSigningKeys,
  readAccessToken,
  sharedSecret,
} from "./core/oauth/index.ts";
import type { Vault } from "./core/vault/index.ts";
import type { Database } from "./database/open.ts";
import type { Route } from "./http/call.ts";
import { requireLoopback } from "./http/tls.ts";
import { devicePages, messagePage } from "./surfaces/identity/pages.ts";
import { identityRoutes, legacyRoutes } from "./surfaces/identity/routes.ts";
import type { PlatformDeps } from "./surfaces/platform/deps.ts";

export interface Identity {
  routes: Route[];
  /** Throws for what is no access token of ours. */
  readToken(given: string): Promise<Bearer>;
  /** What the operator's operations need of it. */
  operator: Pick<PlatformDeps, "authorization" | "passwords" | "issuer" | "jurisdiction" | "signingKeys">;
  close(): Promise<void>;
}

export async function openIdentity(
  { db, vault }: { db: Database; vault: Vault },
  config: ControlConfig,
  listensAt: () => string,
  onError: (error: unknown) => void,
): Promise<Identity> {
  const { publicUrl, accessTokenSeconds: accessTokenS, signUp, outside } = config.identity;
  const { legacyAuth } = config.models;
  if (legacyAuth) requireLoopback(config.http, "models.legacyAuth");
  const issuer = () => publicUrl ?? listensAt();
  const keys = await openSigningKeys(db, vault, onError);
  const cookieKey = await sharedSecret(db, vault, "cookies", randomBytes(32));
  const authorization = openAuthorizationServer({
    ...{ db, vault, keys, issuer, onError, accessTokenS },
    cookieKey: cookieKey.toString("base64url"),
    pages: { ...devicePages, error: (message) => messagePage("It cannot go on", message) },
  });
  const people = {
    ...{ authorization, passwords: openPasswords(), issuer, jurisdiction: config.workloads.jurisdiction },
  };
  const { jurisdiction } = people;
  const deps = {
    ...{ db, ...people, signUp },
    outside: outside === null ? null : openOutside({ db, vault, issuer, jurisdiction }, outside),
  };
  const legacy = openLegacySignIns({ db, keys, issuer, accessTokenS });
  return {
    routes: [...identityRoutes(deps), ...(legacyAuth ? legacyRoutes({ ...deps, legacy }) : [])],
    readToken: async (given) => {
      if (legacyAuth && isLegacyToken(given)) return legacy.read(given);
      return readServiceToken(given) ?? readAccessToken(keys, issuer(), given);
    },
    operator: { ...people, signingKeys: keys },
    close: () => keys.close(),
  };
}
