// SPDX-License-Identifier: Apache-2.0
export { readAccessToken } from "./access-token.ts";
export { addClient, clientMetadata, revokeClient } from "./clients.ts";
export { openSigningKeys, type SigningKeys, sharedSecret } from "./keys.ts";
export { isLegacyToken, type LegacySignIns, openLegacySignIns, organizationOf } from "./legacy-tokens.ts";
export { type Outside, openOutside } from "./outside.ts";
export { type AuthorizationServer, openAuthorizationServer } from "./provider.ts";
export { forgetRecords } from "./records.ts";
export { hasMisspelt } from "./token-claims.ts";
