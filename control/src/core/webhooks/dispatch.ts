// SPDX-License-Identifier: Apache-2.0
/**
 * Takes what is due and has it sent, as much at once as there are slots. It sleeps until it is rung, or
 * until the next delivery is due; with nothing to send it asks once a minute.
 *
 *  A. One receiver gets at most ENDPOINT_MAX at once, of all replicas, and an account that has ACCOUNT_MAX in
 *     this process is passed over: whoever lets us wait the whole time, at all their endpoints, holds up
 *     nobody else. What one taking brings may go beyond that, so it brings little.
 *  B. What a process took that died is given back by `tend`, and a delivery whose job is lost gets it again.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import type { Database } from "../../database/open.ts";
import type { Job } from "../jobs/index.ts";
import { Bell } from "../jobs/index.ts";
import { type AttemptDeps, attempt } from "./attempt.ts";
import { type DeliveryJob, jobOf } from "./deliveries.ts";

const SLOTS = 64;
const ENDPOINT_MAX = 2;
const ACCOUNT_MAX = 8;
/** Of one taking; the next follows at once. */
const TAKE_MAX = 4;
const IDLE_MS = 60_000;
/** Something is due that cannot be taken: it is under way, elsewhere perhaps, or its receiver has its share. */
const BUSY_MS = 2_000;
const STOP_MS = 2_000;
const HOUR_MS = 3_600_000;
const KEPT = sql`interval '30 days'`;
const LOST_AFTER = sql`interval '10 minutes'`;
const LOST_BATCH = 500;

export interface Dispatcher {
  bell: Bell;
  stop(): Promise<void>;
}

export interface DispatchDeps extends AttemptDeps {
  /** How long a taken job may take before another takes it. */
  takenMs: number;
  onError(error: unknown): void;
}

export function startDispatch(deps: DispatchDeps): Dispatcher {
  const bell = new Bell();
  const under = new UnderWay();
  let stopped = false;
  let tended = Number.NEGATIVE_INFINITY;

  const turn = async (): Promise<number> => {
    const due = await nextDue(deps.db);
    const sinceMs = performance.now() - tended;
    if (sinceMs > HOUR_MS || (due.overdue && sinceMs > deps.takenMs)) {
      tended = performance.now();
      await tend(deps, sinceMs > HOUR_MS);
    }
    if (due.overdue && under.size < SLOTS && (await take()) > 0) return 0;
    return Math.min(IDLE_MS, due.inMs ?? IDLE_MS, due.overdue ? BUSY_MS : IDLE_MS);
  };
  const take = async (): Promise<number> => {
    const jobs = await deps.queue.fetch({
      limit: Math.min(TAKE_MAX, SLOTS - under.size),
      groupMax: ENDPOINT_MAX,
      ignoreGroups: await endpointsOf(deps.db, under.accountsWith(ACCOUNT_MAX)),
    });
    const accounts = await accountsOf(deps.db, jobs);
    for (const job of jobs)
      under
        .add(
          accounts.get(job.data.delivery) ?? "",
          attempt(deps, job).catch((error) => {
            // After the end of everything nothing can be written; the job is taken again.
            if (!stopped) deps.onError(error);
          }),
        )
        .then(() => bell.ring());
    return jobs.length;
  };
  const running = (async () => {
    while (!stopped) {
      const waitMs = await turn().catch((error) => {
        deps.onError(error);
        return BUSY_MS;
      });
      if (waitMs > 0 && !stopped) await bell.wait(waitMs);
    }
  })();
  return {
    bell,
    stop: async () => {
      stopped = true;
      bell.ring();
      await running;
      // What came of those under way should be known; one whose receiver hangs is sent again by another.
      await Promise.race([under.over(), sleep(STOP_MS, undefined, { ref: false })]);
    },
  };
}

class UnderWay {
  readonly #all = new Set<Promise<void>>();
  readonly #byAccount = new Map<string, number>();

  get size(): number {
    return this.#all.size;
  }

  /** Resolves when `work` is over and no longer counted. */
  add(account: string, work: Promise<void>): Promise<void> {
    const count = (by: number) => {
      const now = (this.#byAccount.get(account) ?? 0) + by;
      if (now > 0) this.#byAccount.set(account, now);
      else this.#byAccount.delete(account);
    };
    count(1);
    const counted = work.finally(() => {
      count(-1);
      this.#all.delete(counted);
    });
    this.#all.add(counted);
    return counted;
  }

  accountsWith(atLeast: number): string[] {
    return [...this.#byAccount].flatMap(([account, count]) => (count >= atLeast ? [account] : []));
  }

  async over(): Promise<void> {
    await Promise.all(this.#all);
  }
}

/** A: pg-boss bounds groups, which are endpoints; those of an account that has its share are left out. */
async function endpointsOf(db: Database, accounts: string[]): Promise<string[]> {
  if (accounts.length === 0) return [];
  const { rows } = await sql<{ id: string }>`
    select id from webhook_endpoints where account_id = any(${accounts})`.execute(db.soft);
  return rows.map(({ id }) => id);
}

async function accountsOf(db: Database, jobs: Job<DeliveryJob>[]): Promise<Map<string, string>> {
  if (jobs.length === 0) return new Map();
  const { rows } = await sql<{ id: string; account_id: string }>`
    select id, account_id from webhook_deliveries where id = any(${jobs.map(({ data }) => data.delivery)})`.execute(
    db.soft,
  );
  return new Map(rows.map(({ id, account_id }) => [id, account_id]));
}

async function nextDue(db: Database): Promise<{ overdue: boolean; inMs: number | null }> {
  const { rows } = await sql<{ overdue: boolean; in_ms: number | null }>`
    select exists (select from webhook_deliveries where state = 'pending' and next_at <= now()) as overdue,
      (select extract(epoch from min(next_at) - now()) * 1000 from webhook_deliveries
       where state = 'pending' and next_at > now())::bigint as in_ms`.execute(db.soft);
  return { overdue: rows[0]!.overdue, inMs: rows[0]!.in_ms };
}

/** B, and what is old goes. */
async function tend({ db, queue }: DispatchDeps, clear: boolean): Promise<void> {
  await queue.tend();
  const { rows } = await sql<{ id: string; endpoint_id: string; attempts: number }>`
    select id, endpoint_id, attempts from webhook_deliveries
    where state = 'pending' and next_at < now() - ${LOST_AFTER} order by next_at limit ${LOST_BATCH}`.execute(
    db.soft,
  );
  await db.write((tx) =>
    queue.add(
      tx,
      rows.map((row) => jobOf(row.id, row.attempts, row.endpoint_id)),
    ),
  );
  if (!clear) return;
  await sql`delete from webhook_deliveries where created_at < now() - ${KEPT}`.execute(db.soft);
  await sql`update webhook_endpoints set previous_sealed = null, previous_until = null where previous_until < now()`.execute(
    db.soft,
  );
}
