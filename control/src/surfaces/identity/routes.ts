// SPDX-License-Identifier: Apache-2.0
import * as deviceContract from "#contract/identity/device.ts";
import * as legacyContract from "#contract/identity/legacy.ts";
import { acceptInvitation, organizationMembers, partnerMembers } from "#contract/identity/members.ts";
import * as oauthContract from "#contract/identity/oauth.ts";
import * as organizationsContract from "#contract/identity/organizations.ts";
import * as partnersContract from "#contract/identity/partners.ts";
import * as tokensContract from "#contract/identity/service-tokens.ts";
import * as signInContract from "#contract/identity/sign-in.ts";
import * as usersContract from "#contract/identity/users.ts";
import { type Route, route } from "../../http/call.ts";
import type { IdentityDeps } from "./deps.ts";
import * as legacy from "./legacy.ts";
import * as members from "./members.ts";
import * as oauth from "./oauth.ts";
import * as organizations from "./organizations.ts";
import * as partners from "./partners.ts";
import * as serviceTokens from "./service-tokens.ts";
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
  route(signInContract.returnFromOutside, () => signIn.back(deps)),
  route(usersContract.signUp, (call) => users.signUp(deps, call)),
  route(usersContract.getMe, (call) => users.me(call)),
  route(usersContract.changePassword, (call) => users.newPassword(deps, call)),
  route(usersContract.signOut, (call) => users.signOut(deps, call)),
  route(organizationsContract.listOrganizations, (call) => organizations.list(deps, call)),
  route(organizationsContract.createOrganization, (call) => organizations.create(deps, call)),
  route(organizationsContract.getOrganization, (call) => organizations.get(deps, call)),
  route(organizationsContract.updateOrganization, (call) => organizations.update(deps, call)),
  ...memberRoutes("organization", organizationMembers, deps),
  ...memberRoutes("channel_partner", partnerMembers, deps),
  route(acceptInvitation, (call) => members.accept(deps, call)),
  route(partnersContract.listPartners, (call) => partners.list(deps, call)),
  route(partnersContract.listAccess, (call) => partners.listAccess(deps, call)),
  route(partnersContract.grantAccess, (call) => partners.grant(deps, call)),
  route(partnersContract.revokeAccess, (call) => partners.revoke(deps, call)),
  route(tokensContract.createToken, (call) => serviceTokens.create(deps, call)),
  route(tokensContract.listTokens, (call) => serviceTokens.list(deps, call)),
  route(tokensContract.revokeToken, (call) => serviceTokens.revoke(deps, call)),
];

/** Older programs' sign-in, where it is switched on. */
export const legacyRoutes = (deps: Parameters<typeof legacy.signIn>[0]): Route[] => [
  route(legacyContract.legacySignIn, (call) => legacy.signIn(deps, call)),
  route(legacyContract.legacyRefresh, (call) => legacy.refresh(deps, call)),
  route(legacyContract.legacySignOut, (call) => legacy.signOut(deps, call)),
  route(legacyContract.legacyUser, (call) => legacy.user(deps, call)),
];

const memberRoutes = (
  kind: "organization" | "channel_partner",
  // The roles differ; that they are of the right kind, the schema has seen to.
  contract: typeof organizationMembers | typeof partnerMembers,
  deps: IdentityDeps,
): Route[] => {
  const its = contract as typeof organizationMembers;
  return [
    route(its.list, (call) => members.list(kind, deps, call)),
    route(its.invite, (call) => members.invite(kind, deps, call)),
    route(its.change, (call) => members.change(kind, deps, call)),
    route(its.remove, (call) => members.remove(kind, deps, call)),
    route(its.invitations, (call) => members.invitations(kind, deps, call)),
    route(its.withdraw, (call) => members.withdraw(kind, deps, call)),
  ];
};
