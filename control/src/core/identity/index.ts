// SPDX-License-Identifier: Apache-2.0
export { type Account, authenticate, countAddress, type Principal, type Recognised } from "./authenticate.ts";
export { ADMIN_PREFIX, hashKey, makeId, makeKey, shownPrefix } from "./keys.ts";
export { installOperatorKey } from "./operator.ts";
export { openAccount } from "./signup.ts";
