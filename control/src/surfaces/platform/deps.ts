// SPDX-License-Identifier: Apache-2.0
/** All that this surface may be given. Each operation picks what it needs, so its head shows its powers. */

import type { Collateral } from "../../core/attestation/index.ts";
import type { Passwords } from "../../core/identity/index.ts";
import type { JournalFeed } from "../../core/journal/index.ts";
import type { AuthorizationServer, SigningKeys } from "../../core/oauth/index.ts";
import type { KeyRing, Vault } from "../../core/vault/index.ts";
import type { Webhooks, WebhooksConfig } from "../../core/webhooks/index.ts";
import type { Database } from "../../database/open.ts";

export interface PlatformDeps {
  db: Database;
  vault: Vault;
  ring: KeyRing;
  feed: JournalFeed;
  collateral: Collateral;
  /** What an account may keep of evidence that it brings. */
  attestation: { broughtMax: number; broughtMiB: number };
  /** Asks the machine of an account's workload for evidence, and keeps the verdict; answers its id and the machine's keys. */
  challenge(
    account: string,
    workloadId: string,
    ask: { nonce: Uint8Array | null; purpose: "report" | "seal" },
  ): Promise<{ id: string; keys: { sealing: Uint8Array; tls: Uint8Array }; manifest: Uint8Array }>;
  webhooks: Pick<Webhooks, "queue">;
  webhooksConfig: WebhooksConfig;
  /** Of access tokens. */
  signingKeys: Pick<SigningKeys, "rotate">;
  authorization: Pick<AuthorizationServer, "checkClient">;
  passwords: Passwords;
  /** By what clients know us, in tokens and in addresses. */
  issuer(): string;
  /** Of accounts that are opened without saying one. */
  jurisdiction: string;
  /** Where a host that joins meets control; null: nowhere but on this machine. */
  broker: { servers: string[]; tls: "on" | "off"; caPem: string | null } | null;
}
