// SPDX-License-Identifier: Apache-2.0
/**
 * Revoking and looking at access tokens. The library leaves JWTs alone, since it keeps none; ours count only
 * while the rows say so, so one can be taken back, and be asked about. The library has authenticated the
 * client by then. A client is told of its own tokens and of no others, and not that there are others.
 */
import { sql } from "kysely";
import type { KoaContextWithOIDC } from "oidc-provider";
import { Fault } from "#contract/errors.ts";
import type { Database } from "../../database/open.ts";
import { act } from "../identity/index.ts";
import { bearerOf, verifyAccessToken } from "./access-token.ts";
import type { SigningKeys } from "./keys.ts";

interface Deps {
  db: Database;
  keys: SigningKeys;
}

export async function answerForStructured(
  deps: Deps,
  issuer: string,
  context: KoaContextWithOIDC,
): Promise<void> {
  const { route, client, params } = context.oidc;
  if (client === undefined || (route !== "revocation" && route !== "introspection")) return;
  if ((context.body as { error?: string } | undefined)?.error !== "unsupported_token_type") return;
  const claims = await verifyAccessToken(deps.keys, issuer, String(params?.token)).catch(orNull);
  const own = claims !== null && claims.client_id === client.clientId ? claims : null;
  context.status = 200;
  if (route === "revocation") {
    context.body = "";
    if (own !== null)
      await sql`
        insert into revoked_tokens (jti, expires_at) values (${own.jti}, to_timestamp(${own.exp}))
        on conflict do nothing`.execute(deps.db.run);
    return;
  }
  const counts = own !== null && (await act(deps.db.run, bearerOf(own), null).catch(orNull)) !== null;
  context.body = counts ? { ...own, active: true, token_type: "Bearer" } : { active: false };
}

function orNull(error: unknown): null {
  if (error instanceof Fault) return null;
  throw error;
}
