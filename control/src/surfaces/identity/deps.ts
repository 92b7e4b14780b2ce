// SPDX-License-Identifier: Apache-2.0
/** All that this surface may be given. */
import type { Passwords } from "../../core/identity/index.ts";
import type { AuthorizationServer, Outside } from "../../core/oauth/index.ts";
import type { Database } from "../../database/open.ts";

export interface IdentityDeps {
  db: Database;
  authorization: AuthorizationServer;
  passwords: Passwords;
  /** Null: nobody signs in through a provider outside. */
  outside: Outside | null;
  issuer(): string;
  signUp: "open" | "invited";
  /** Of accounts that are opened without saying one. */
  jurisdiction: string;
}
