// SPDX-License-Identifier: Apache-2.0
/** All that this surface may be given. */
import type { Database } from "../../database/open.ts";
import type { Upstreams } from "./upstreams.ts";

export interface Bounds {
  /** What one instance may spend in its life; null is unlimited. */
  spendLimitMicros: number | null;
  timeoutMs: number;
  idleMs: number;
}

export interface Deps {
  db: Database;
  upstreams: Upstreams;
  bounds: Bounds;
}
