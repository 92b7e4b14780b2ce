// SPDX-License-Identifier: Apache-2.0
/**
 * Webhooks at work, in each replica: listening to the journal for accounts that have some, fanning out, and
 * sending. An installation without a webhook asks the database one question a minute and starts nothing.
 */
import { sql } from "kysely";
import type { Database } from "../../database/open.ts";
import { openGuard } from "../ingress/index.ts";
import { Bell, type Jobs, openJobs } from "../jobs/index.ts";
import { JOURNAL_CHANNEL } from "../journal/index.ts";
import type { Vault } from "../vault/index.ts";
import { DELIVERIES_CHANNEL, type DeliveryJob, type DeliveryQueue } from "./deliveries.ts";
import { type Dispatcher, startDispatch } from "./dispatch.ts";
import { ENDPOINTS_CHANNEL } from "./endpoints.ts";
import { fanOut } from "./fan-out.ts";

export interface WebhooksConfig {
  /** Plain http is taken as well. */
  allowHttp: boolean;
  /** Blocks that may be reached though they are not public. */
  allowNetworks: string[];
  /** Name servers to ask for receivers; none: as the system resolves. */
  resolvers: string[];
  endpointsMax: number;
  timeoutMs: number;
  retryFirstMs: number;
}

export interface WebhooksDeps {
  db: Database;
  vault: Vault;
  config: WebhooksConfig;
  onError(error: unknown): void;
}

export interface Webhooks {
  /** For whoever makes deliveries outside the journal's way; starts what is needed. */
  queue(): Promise<DeliveryQueue>;
  stop(): Promise<void>;
}

/** What a lost notification delays at most. */
const SWEEP_MS = 60_000;
/** Entries that come together are fanned out together. */
const GATHER_MS = 25;
const CONNECT_MS = 10_000;

export async function startWebhooks(deps: WebhooksDeps): Promise<Webhooks> {
  const { db, vault, config, onError } = deps;
  const guard = openGuard({
    allow: config.allowNetworks,
    resolvers: config.resolvers,
    connectMs: Math.min(CONNECT_MS, config.timeoutMs),
  });
  const takenMs = 2 * config.timeoutMs;
  const jobs: Jobs = openJobs(db, onError);
  let dispatcher: Dispatcher | null = null;
  let stopped = false;

  let opening: Promise<DeliveryQueue> | null = null;
  const queue = () => {
    opening ??= jobs.queue<DeliveryJob>({ name: "webhooks", takenMs }).catch((error) => {
      opening = null;
      throw error;
    });
    return opening;
  };

  const known = new Set<string>();
  const dirty = new Set<string>();
  const bell = new Bell();
  const touch = (account: string) => {
    dirty.add(account);
    bell.ring();
  };
  await db.listen(JOURNAL_CHANNEL, (payload) => {
    const account = payload.split(" ")[0]!;
    if (known.has(account)) touch(account);
  });
  await db.listen(ENDPOINTS_CHANNEL, (account) => {
    known.add(account);
    touch(account);
  });
  await db.listen(DELIVERIES_CHANNEL, () => dispatcher?.bell.ring());

  const sweep = async () => {
    const { rows } = await sql<{ account_id: string; behind: boolean }>`
      select c.account_id, a.journal_seq > c.seq as behind
      from webhook_cursors c join accounts a on a.id = c.account_id`.execute(db.soft);
    known.clear();
    for (const { account_id, behind } of rows) {
      known.add(account_id);
      if (behind) dirty.add(account_id);
    }
  };
  const turn = async (): Promise<void> => {
    if (known.size === 0) return;
    const open = await queue();
    if (stopped) return;
    dispatcher ??= startDispatch({
      ...{ db, vault, guard, queue: open, takenMs, onError },
      ...{ timeoutMs: config.timeoutMs, retryFirstMs: config.retryFirstMs },
    });
    for (const account of dirty) {
      dirty.delete(account);
      await fanOut(db, open, account).catch((error) => {
        // The cursor has not moved; the next sweep finds it behind.
        onError(error);
      });
    }
  };
  const running = (async () => {
    let swept = Number.NEGATIVE_INFINITY;
    while (!stopped) {
      try {
        if (performance.now() - swept >= SWEEP_MS) {
          swept = performance.now();
          await sweep();
        }
        await turn();
      } catch (error) {
        onError(error);
      }
      if (dirty.size === 0 && !stopped) await bell.wait(Math.max(0, SWEEP_MS - (performance.now() - swept)));
      if (!stopped) await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
    }
  })();
  return {
    queue,
    stop: async () => {
      stopped = true;
      bell.ring();
      await running;
      await dispatcher?.stop();
      await jobs.stop();
    },
  };
}
