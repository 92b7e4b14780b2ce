// SPDX-License-Identifier: Apache-2.0
/** All that this surface may be given. */
import type { AuthorizationServer } from "../../core/oauth/index.ts";
import type { Database } from "../../database/open.ts";

export interface IdentityDeps {
  db: Database;
  authorization: AuthorizationServer;
}
