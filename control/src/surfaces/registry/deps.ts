// SPDX-License-Identifier: Apache-2.0
/** All that this surface may be given. */
import type { Logger } from "pino";
import type { BlobStore } from "../../blobs/port.ts";
import type { Database } from "../../database/open.ts";

export interface RegistryConfig {
  /** Bytes an account may store; null is unlimited. */
  bytesPerAccount: number | null;
  /** How long what nothing points at is kept. */
  collectAfterMs: number;
  /** How long an upload waits for its next piece. */
  uploadMs: number;
}

export interface Deps {
  db: Database;
  store: BlobStore;
  log: Logger;
  registry: RegistryConfig;
  /** This process, among those on the database. */
  replica: string;
}
