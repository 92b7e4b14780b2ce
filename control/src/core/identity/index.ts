// SPDX-License-Identifier: Apache-2.0
export {
  type ActAs,
  type Actor,
  act,
  type Bearer,
  type Party,
  parseActAs,
} from "./act-as.ts";
export { type Account, authenticate, countAddress, type Principal } from "./authenticate.ts";
export { forgetGuesses } from "./guesses.ts";
export { END_INSTANCE_TOKENS, makeInstanceToken } from "./instance-token.ts";
export { acceptInvitation, inviteMember } from "./invitations.ts";
export { hashKey, makeId, makeKey, randomText, shownPrefix } from "./keys.ts";
export { type PartyKind, SCOPES, type Scope, scopesOf } from "./levels.ts";
export { addKey, openNamedAccount } from "./named-account.ts";
export { installOperatorKey } from "./operator.ts";
export { addMember, addParty } from "./parties.ts";
export { openPasswords, type Passwords, requirePassword } from "./passwords.ts";
export { countMachineKeys, forgetPullKeys, lendPullKey, returnPullKeysClause } from "./pull-key.ts";
export {
  addServiceToken,
  readServiceToken,
  revokeServiceToken,
  type ServiceTokenRow,
} from "./service-tokens.ts";
export { openAccount } from "./signup.ts";
export {
  addUser,
  changePassword,
  checkPassword,
  deleteUser,
  findUser,
  requireEmail,
  signOutEverywhere,
  type User,
} from "./users.ts";
