// SPDX-License-Identifier: Apache-2.0
/** All that this surface may be given. */
import type { Logger } from "pino";
import type { BlobStore } from "../../blobs/port.ts";
import type { JournalFeed } from "../../core/journal/index.ts";
import type { Database } from "../../database/open.ts";
import type { TelemetryBounds } from "./telemetry.ts";

export interface DevicesDeps {
  db: Database;
  /** Hears what servers are told; a hint. */
  feed: JournalFeed;
  store: BlobStore;
  bounds: TelemetryBounds;
  log: Logger;
}
