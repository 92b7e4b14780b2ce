// SPDX-License-Identifier: Apache-2.0
/** All that this surface may be given. */
import type { JournalFeed } from "../../core/journal/index.ts";
import type { Database } from "../../database/open.ts";

export interface DevicesDeps {
  db: Database;
  /** Hears what servers are told; a hint. */
  feed: JournalFeed;
}
