// SPDX-License-Identifier: Apache-2.0
export { findProof, findProofKey, listIssuers, rememberIssuers } from "./find.ts";
export { keepProof } from "./keep.ts";
