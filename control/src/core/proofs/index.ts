// SPDX-License-Identifier: Apache-2.0
export { findProofKey, listIssuers, rememberIssuers } from "./find.ts";
export { keepProofClauses } from "./keep.ts";
