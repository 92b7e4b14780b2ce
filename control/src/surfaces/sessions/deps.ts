// SPDX-License-Identifier: Apache-2.0
/** All that this surface may be given. Each operation picks what it needs, so its head shows its powers. */
import type { Logger } from "pino";
import type { Fleet } from "../../core/fleet/index.ts";
import type { JournalFeed } from "../../core/journal/index.ts";
import type { Converger, Watch } from "../../core/machines/index.ts";
import type { Vault } from "../../core/vault/index.ts";
import type { Database } from "../../database/open.ts";
import type { Payments } from "./billing.ts";
import type { Tiers } from "./tiers.ts";

export interface Deps {
  db: Database;
  fleet: Fleet;
  converger: Converger;
  watch: Watch;
  vault: Vault;
  feed: JournalFeed;
  tiers: Tiers;
  /** null: billing is not configured. */
  payments: Payments | null;
  /** Names this process in rows that only it may clear. */
  replica: string;
  log: Logger;
  /** How long a create waits for the host, in milliseconds. */
  startTimeoutMs: number;
  /** How long a destroy waits for the host, in milliseconds. */
  endTimeoutMs: number;
  /** Root template of new sessions; null: the host's own /usr. */
  template: string | null;
  startedAt: Date;
  /** How people reach this API from outside, without a slash at its end. */
  publicUrl(): string;
}
