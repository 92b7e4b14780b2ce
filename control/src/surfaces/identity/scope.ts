// SPDX-License-Identifier: Apache-2.0
/** What people's programs ask for, in words that the authorization server knows. */
import { hasMisspelt } from "../../core/oauth/index.ts";

const KNOWN = /^(offline_access|email|[a-z_]+:[a-z_]+)$/;

/**
 * The original's scopes name a service, `https://… cloudSystemId=*`; here there is one, and naming it
 * narrows nothing. `openid` is always asked for. Null: a narrowing that we do not know.
 */
export function standardScope(given: string | null): string | null {
  const scopes = (given ?? "").split(" ");
  if (hasMisspelt(scopes.join(" "))) return null;
  return ["openid", ...scopes.filter((scope) => KNOWN.test(scope))].join(" ");
}
