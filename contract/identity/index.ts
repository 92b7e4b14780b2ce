// SPDX-License-Identifier: Apache-2.0
/** Who is who: signing in, tokens, organizations. */
import type { Operation } from "../operation.ts";
import * as device from "./device.ts";
import * as legacy from "./legacy.ts";
import * as members from "./members.ts";
import * as oauth from "./oauth.ts";
import * as organizations from "./organizations.ts";
import * as partners from "./partners.ts";
import * as serviceTokens from "./service-tokens.ts";
import * as signIn from "./sign-in.ts";
import * as users from "./users.ts";

export const OAUTH: readonly Operation[] = [
  oauth.token,
  oauth.jwks,
  oauth.discovery,
  oauth.serverMetadata,
  device.deviceAuthorization,
  device.revoke,
  device.introspect,
  device.showDevice,
  device.takeDevice,
  device.resumeDevice,
  signIn.authorize,
  signIn.resume,
  signIn.showSignIn,
  signIn.signIn,
  signIn.returnFromOutside,
];

export const IDENTITY: readonly Operation[] = [
  organizations.listOrganizations,
  organizations.createOrganization,
  organizations.getOrganization,
  organizations.updateOrganization,
  ...Object.values(members.organizationMembers),
  ...Object.values(members.partnerMembers),
  members.acceptInvitation,
  partners.listPartners,
  partners.listAccess,
  partners.grantAccess,
  partners.revokeAccess,
  serviceTokens.createToken,
  serviceTokens.listTokens,
  serviceTokens.revokeToken,
  users.signUp,
  users.getMe,
  users.changePassword,
  users.signOut,
];

/** Routed only where `models.legacyAuth` is on. */
export const LEGACY: readonly Operation[] = [
  legacy.legacySignIn,
  legacy.legacyRefresh,
  legacy.legacySignOut,
  legacy.legacyUser,
];
