// SPDX-License-Identifier: Apache-2.0
/**
 * Waiting for a machine to reach a state. The replica that commits the observation wakes its own
 * waiters at once and the others through NOTIFY; a slow poll covers a lost notification.
 */
import { sql } from "kysely";
import type { Database } from "../../database/open.ts";
import { isOver } from "./transitions.ts";

const CHANNEL = "casemate_observed";
const POLL_MS = 1000;

export interface Watch {
  /** Resolves with the state once it is `running` or over, or null at the timeout. */
  settled(machineId: string, timeoutMs: number): Promise<string | null>;
  /** Resolves with the state once the machine is over, or null at the timeout. */
  over(machineId: string, timeoutMs: number): Promise<string | null>;
  /** Tells waiters here (`state` known) and in other processes. */
  tell(machineId: string, state: string): void;
}

export async function openWatch(db: Database, onError: (error: unknown) => void): Promise<Watch> {
  const waiters = new Map<string, Set<(state: string | null) => void>>();
  const wake = (machineId: string, state: string | null) => {
    for (const each of waiters.get(machineId) ?? []) each(state);
  };
  const mine = new Set<string>();
  await db.listen(CHANNEL, (machineId) => {
    if (!mine.delete(machineId)) wake(machineId, null);
  });

  const until = (machineId: string, done: (state: string) => boolean, timeoutMs: number) =>
    new Promise<string | null>((resolve, reject) => {
      const set = waiters.get(machineId) ?? new Set();
      waiters.set(machineId, set);
      const finish = (state: string | null) => {
        clearTimeout(deadline);
        clearInterval(poll);
        set.delete(hear);
        if (set.size === 0 && waiters.get(machineId) === set) waiters.delete(machineId);
        resolve(state);
      };
      const look = () => {
        db.soft
          .selectFrom("machines")
          .select("state")
          .where("id", "=", machineId)
          .executeTakeFirst()
          .then((row) => {
            if (row === undefined || done(row.state)) finish(row?.state ?? null);
          }, reject);
      };
      const hear = (state: string | null) => {
        if (state === null) look();
        else if (done(state)) finish(state);
      };
      const deadline = setTimeout(() => finish(null), timeoutMs);
      const poll = setInterval(look, POLL_MS);
      set.add(hear);
    });

  return {
    settled: (id, timeoutMs) => until(id, (state) => state === "running" || isOver(state), timeoutMs),
    over: (id, timeoutMs) => until(id, isOver, timeoutMs),
    tell: (machineId, state) => {
      if (waiters.has(machineId)) wake(machineId, state);
      else {
        mine.add(machineId);
        sql`select pg_notify(${CHANNEL}, ${machineId})`.execute(db.soft).catch((error) => {
          mine.delete(machineId);
          onError(error);
        });
      }
    },
  };
}
