// SPDX-License-Identifier: Apache-2.0
import * as oauthContract from "#contract/identity/oauth.ts";
import * as organizationsContract from "#contract/identity/organizations.ts";
import { type Route, route } from "../../http/call.ts";
import type { IdentityDeps } from "./deps.ts";
import * as oauth from "./oauth.ts";
import * as organizations from "./organizations.ts";

export const identityRoutes = (deps: IdentityDeps): Route[] => [
  route(oauthContract.token, (call) => oauth.pass(deps, call)),
  route(oauthContract.jwks, (call) => oauth.pass(deps, call)),
  route(oauthContract.discovery, (call) => oauth.pass(deps, call)),
  route(oauthContract.serverMetadata, (call) => oauth.pass(deps, call)),
  route(organizationsContract.listOrganizations, (call) => organizations.list(deps, call)),
  route(organizationsContract.createOrganization, (call) => organizations.create(deps, call)),
];
