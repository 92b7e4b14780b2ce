// SPDX-License-Identifier: Apache-2.0
/** The operator's own operations. */
import { listIssuers } from "#contract/platform/issuers.ts";
import { rotateKeys } from "#contract/platform/rotate-keys.ts";
import { listIssuers as findIssuers } from "../../core/proofs/index.ts";
import type { KeyRing, Vault } from "../../core/vault/index.ts";
import type { Database } from "../../database/open.ts";
import { type Answer, type Route, route } from "../../http/call.ts";

export interface PlatformDeps {
  db: Database;
  vault: Vault;
  ring: KeyRing;
}

export const platformRoutes = (deps: PlatformDeps): Route[] => [
  route(listIssuers, () => issuers(deps)),
  route(rotateKeys, () => rotate(deps)),
];

async function issuers({ db }: PlatformDeps): Promise<Answer> {
  return { status: 200, body: await findIssuers(db.soft) };
}

/** The new key is on disk before anything is wrapped under it; a crash in between leaves both usable. */
async function rotate({ vault, ring }: PlatformDeps): Promise<Answer> {
  await ring.add();
  const rewrapped = await vault.rewrap();
  return { status: 200, body: { key_id: ring.newest().id, rewrapped } };
}
