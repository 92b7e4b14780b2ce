// SPDX-License-Identifier: Apache-2.0
/** Who is who: signing in, tokens, organizations. */
import type { Operation } from "../operation.ts";
import * as oauth from "./oauth.ts";
import * as organizations from "./organizations.ts";

export const OAUTH: readonly Operation[] = [oauth.token, oauth.jwks, oauth.discovery, oauth.serverMetadata];

export const IDENTITY: readonly Operation[] = [
  organizations.listOrganizations,
  organizations.createOrganization,
];
