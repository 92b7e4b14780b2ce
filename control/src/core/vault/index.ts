// SPDX-License-Identifier: Apache-2.0
export { type KeyRing, openKeyRing } from "./key-ring.ts";
export { openVault, type Vault } from "./vault.ts";
