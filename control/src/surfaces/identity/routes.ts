// SPDX-License-Identifier: Apache-2.0
import * as deviceContract from "#contract/identity/device.ts";
import * as oauthContract from "#contract/identity/oauth.ts";
import * as organizationsContract from "#contract/identity/organizations.ts";
import * as signInContract from "#contract/identity/sign-in.ts";
import * as usersContract from "#contract/identity/users.ts";
import { type Route, route } from "../../http/call.ts";
import type { IdentityDeps } from "./deps.ts";
import * as oauth from "./oauth.ts";
import * as organizations from "./organizations.ts";
import * as signIn from "./sign-in.ts";
import * as users from "./users.ts";

export const identityRoutes = (deps: IdentityDeps): Route[] => [
  route(oauthContract.token, (call) => oauth.pass(deps, call)),
  route(oauthContract.jwks, (call) => oauth.pass(deps, call)),
  route(oauthContract.discovery, (call) => oauth.pass(deps, call)),
  route(oauthContract.serverMetadata, (call) => oauth.pass(deps, call)),
  route(deviceContract.deviceAuthorization, (call) => oauth.beginDevice(deps, call)),
  route(deviceContract.revoke, (call) => oauth.pass(deps, call)),
  route(deviceContract.introspect, (call) => oauth.pass(deps, call)),
  route(deviceContract.showDevice, () => signIn.askDevice(deps)),
  route(deviceContract.takeDevice, (call) => signIn.takeDevice(deps, call)),
  route(deviceContract.resumeDevice, (call) => oauth.pass(deps, call)),
  route(signInContract.authorize, (call) => signIn.begin(deps, call)),
  route(signInContract.resume, (call) => oauth.pass(deps, call)),
  route(signInContract.showSignIn, () => signIn.ask(deps)),
  route(signInContract.signIn, (call) => signIn.take(deps, call)),
  route(usersContract.signUp, (call) => users.signUp(deps, call)),
  route(usersContract.getMe, (call) => users.me(call)),
  route(usersContract.changePassword, (call) => users.newPassword(deps, call)),
  route(usersContract.signOut, (call) => users.signOut(deps, call)),
  route(organizationsContract.listOrganizations, (call) => organizations.list(deps, call)),
  route(organizationsContract.createOrganization, (call) => organizations.create(deps, call)),
];
