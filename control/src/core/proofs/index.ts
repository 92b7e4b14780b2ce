// SPDX-License-Identifier: Apache-2.0

export { auditProofOf, inTotoOf, trustChain } from "./export.ts";
export { findProofKey, listIssuers, rememberIssuers, revokedIssuerIds } from "./find.ts";
export { keepProofClauses } from "./keep.ts";
export { issuerManifest, revokeIssuer, revokeProofKey } from "./manifest.ts";
