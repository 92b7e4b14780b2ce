// SPDX-License-Identifier: Apache-2.0
/** All that this surface may be given. */
import type { Logger } from "pino";
import type { BlobStore } from "../../blobs/port.ts";
import type { JournalFeed } from "../../core/journal/index.ts";
import type { ArtifactKeys, ModelsConfig, Work } from "../../core/models/index.ts";
import type { Vault } from "../../core/vault/index.ts";
import type { Database } from "../../database/open.ts";

export interface ModelsDeps {
  db: Database;
  store: BlobStore;
  feed: JournalFeed;
  keys: ArtifactKeys;
  /** For answers that are kept with their Idempotency-Key. */
  vault: Vault;
  work: Work;
  config: ModelsConfig;
  /** For the files of jobs that are answered at once. */
  folder: string;
  log: Logger;
}
