// SPDX-License-Identifier: Apache-2.0
/**
 * Stopping without a failed request, so that replicas can be replaced one by one behind a balancer:
 * first `/readyz` says 503 and connections are no longer kept, while everything is still answered; then
 * no connection is taken, and what is being answered is answered; what takes too long is ended.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyInstance } from "fastify";

/** Event streams and long polls have no end of their own; their clients come again elsewhere. */
const LAST_ANSWERS_MS = 5_000;

export interface Life {
  stopping(): boolean;
  /** Resolves when nothing is answered any more. */
  end(app: FastifyInstance, drainMs: number): Promise<void>;
}

export function openLife(): Life {
  let stopping = false;
  return {
    stopping: () => stopping,
    async end(app, drainMs) {
      stopping = true;
      await sleep(drainMs);
      const forced = setTimeout(() => app.server.closeAllConnections(), LAST_ANSWERS_MS);
      await app.close();
      clearTimeout(forced);
    },
  };
}
