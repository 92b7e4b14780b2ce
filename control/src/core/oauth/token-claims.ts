// SPDX-License-Identifier: Apache-2.0
/** What an access token says: the claims that are documented of the original, and `uid`, by which we know a user. */
import { errors, type KoaContextWithOIDC } from "oidc-provider";
import type { Database } from "../../database/open.ts";
import { findUser, SCOPES } from "../identity/index.ts";
import { ACCESS_TYPE } from "./access-token.ts";

export async function claim(
  db: Database,
  { oidc }: KoaContextWithOIDC,
  token: object,
  { payload }: { payload: Record<string, unknown> },
): Promise<void> {
  if (hasMisspelt(String(oidc.params?.scope ?? "")))
    throw new errors.InvalidScope("there is no such permission", "scope");
  payload.typ = ACCESS_TYPE;
  const { accountId, grantId } = token as { accountId?: string; grantId?: string };
  if (accountId === undefined) return;
  const user = await findUser(db.run, accountId);
  if (user === undefined || grantId === undefined) throw new errors.InvalidGrant("the user is no more");
  Object.assign(payload, { sub: user.email, uid: user.id, sid: grantId, pwdTime: user.passwordAt });
}

/** A narrowing that we do not know must not become a token that was not narrowed. */
export const hasMisspelt = (asked: string): boolean =>
  asked.split(" ").some((scope) => /^[a-z_]+:[a-z_]+$/.test(scope) && !isScope(scope));

const isScope = (text: string): boolean => (SCOPES as readonly string[]).includes(text);
