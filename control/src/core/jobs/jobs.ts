// SPDX-License-Identifier: Apache-2.0
/**
 * Durable work that has to be tried again later: pg-boss, in a schema of its own beside our tables, over
 * our own connections, so that it adds none.
 *
 *  A. It is started when somebody first needs it. Until then it has no tables and asks nothing.
 *  B. Nothing in it runs by a timer of its own that could be left out: whoever takes jobs says when to look
 *     (`fetch`) and when to clear up (`tend`). What is left asks once an hour.
 *  C. A job is enqueued in the transaction that makes it necessary, and completed in the one that makes it so.
 */

import { fromKysely, type JobInsert, PgBoss } from "pg-boss";
import type { Database, Tx } from "../../database/open.ts";

export const JOBS_SCHEMA = "casemate_jobs";
const HOUR_S = 3600;

export interface Job<T> {
  id: string;
  data: T;
  /** Which taking of this job it is; a later one makes what an earlier one says of no account. */
  retryCount: number;
}

export interface NewJob<T> {
  /** A UUID. A second job of the same id is not made. */
  id: string;
  data: T;
  /** Jobs of one group share the group's bound. */
  group: string;
  startAfterMs?: number;
}

export interface FetchJobs {
  limit: number;
  /** Of one group at once, on all replicas together. */
  groupMax: number;
  ignoreGroups: string[];
}

export interface JobQueue<T> {
  add(tx: Tx, jobs: NewJob<T>[]): Promise<void>;
  fetch(ask: FetchJobs): Promise<Job<T>[]>;
  complete(tx: Tx, job: Job<T>): Promise<void>;
  /** Gives back what was taken by processes that died, and drops what was completed long ago. */
  tend(): Promise<void>;
}

export interface QueueOptions {
  name: string;
  /** How long a taken job may take before it is given to another. */
  takenMs: number;
}

export interface Jobs {
  /** The queue, made when it is not there. Starts everything at the first call. */
  queue<T extends object>(options: QueueOptions): Promise<JobQueue<T>>;
  stop(): Promise<void>;
}

export function openJobs(db: Database, onError: (error: unknown) => void): Jobs {
  let starting: Promise<PgBoss> | null = null;
  const started = () => {
    // A start that failed is tried again by the next who needs it.
    starting ??= startBoss(db, onError).catch((error) => {
      starting = null;
      throw error;
    });
    return starting;
  };
  return {
    async queue<T extends object>({ name, takenMs }: QueueOptions): Promise<JobQueue<T>> {
      const boss = await started();
      const settings = {
        expireInSeconds: Math.max(1, Math.ceil(takenMs / 1000)),
        // Only whoever dies, or cannot write what came of it, comes here again; that is not the job's fault.
        ...{ retryLimit: 100_000, retryDelay: 1, retryBackoff: true, retryDelayMax: 300 },
        ...{ deleteAfterSeconds: HOUR_S, retentionSeconds: 60 * 24 * HOUR_S },
      };
      await boss.createQueue(name, settings);
      await boss.updateQueue(name, settings);
      return queueOf<T>(boss, name);
    },
    stop: async () => {
      const boss = await starting?.catch(() => null);
      await boss?.stop({ graceful: false, close: false });
    },
  };
}

async function startBoss(db: Database, onError: (error: unknown) => void): Promise<PgBoss> {
  const boss = new PgBoss({
    db: { executeSql: db.foreign },
    schema: JOBS_SCHEMA,
    createSchema: false,
    ...{ supervise: false, schedule: false, registerInstance: false, monitorVacuum: false },
    ...{ bamIntervalSeconds: HOUR_S, queueCacheIntervalSeconds: HOUR_S },
    // `tend` is the only one who lets these happen; how often, it decides itself.
    ...{ monitorIntervalSeconds: 1, maintenanceIntervalSeconds: HOUR_S },
    openTelemetry: { enabled: false },
  });
  boss.on("error", onError);
  await boss.start();
  return boss;
}

const queueOf = <T extends object>(boss: PgBoss, name: string): JobQueue<T> => ({
  async add(tx, jobs) {
    if (jobs.length === 0) return;
    const rows: JobInsert<T>[] = jobs.map(({ id, data, group, startAfterMs }) => ({
      ...{ id, data, group: { id: group } },
      ...(startAfterMs === undefined ? {} : { startAfter: Math.ceil(startAfterMs / 1000) }),
    }));
    await boss.insert(name, rows, { db: fromKysely(tx) });
  },
  fetch: ({ limit, groupMax, ignoreGroups }) =>
    boss.fetch<T>(name, { batchSize: limit, groupConcurrency: groupMax, ignoreGroups }),
  async complete(tx, { id, retryCount }) {
    await boss.complete(name, { id, retryCount }, null, { db: fromKysely(tx) });
  },
  tend: () => boss.supervise(name),
});
