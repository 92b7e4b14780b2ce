// SPDX-License-Identifier: Apache-2.0
/**
 * Waiting for a machine to reach a state. The replica that commits the observation wakes its own
 * waiters at once and the others through NOTIFY; a slow poll covers a lost notification.
 */
import { sql } from "kysely";
import type { Database } from "../../database/open.ts";
import type { Observed } from "./observe.ts";
import { isOver } from "./transitions.ts";

const CHANNEL = "casemate_observed";
const POLL_MS = 1000;

export interface Told {
  state: string;
  /** Only when this process heard of the end itself. */
  over?: Observed["over"];
}

export interface Watch {
  /** Resolves with the state once it is `running` or over, or null at the timeout. */
  settled(machineId: string, timeoutMs: number): Promise<string | null>;
  /** Resolves once the machine is over, with all that is known of it here, or null at the timeout. */
  over(machineId: string, timeoutMs: number): Promise<Told | null>;
  /** Tells waiters here and in other processes. */
  tell(observed: Observed): void;
}

export async function openWatch(db: Database, onError: (error: unknown) => void): Promise<Watch> {
  const waiters = new Map<string, Set<(told: Told | null) => void>>();
  const wake = (machineId: string, told: Told | null) => {
    for (const each of waiters.get(machineId) ?? []) each(told);
  };
  const mine = new Set<string>();
  await db.listen(CHANNEL, (machineId) => {
    if (!mine.delete(machineId)) wake(machineId, null);
  });

  const until = (machineId: string, done: (state: string) => boolean, timeoutMs: number) =>
    new Promise<Told | null>((resolve, reject) => {
      const set = waiters.get(machineId) ?? new Set();
      waiters.set(machineId, set);
      const finish = (told: Told | null) => {
        clearTimeout(deadline);
        clearInterval(poll);
        set.delete(hear);
        if (set.size === 0 && waiters.get(machineId) === set) waiters.delete(machineId);
        resolve(told);
      };
      const look = () => {
        db.soft
          .selectFrom("machines")
          .select("state")
          .where("id", "=", machineId)
          .executeTakeFirst()
          .then((row) => {
            if (row === undefined || done(row.state)) finish(row ?? null);
          }, reject);
      };
      const hear = (told: Told | null) => {
        if (told === null) look();
        else if (done(told.state)) finish(told);
      };
      const deadline = setTimeout(() => finish(null), timeoutMs);
      const poll = setInterval(look, POLL_MS);
      set.add(hear);
    });

  return {
    settled: async (id, timeoutMs) => {
      const told = await until(id, (state) => state === "running" || isOver(state), timeoutMs);
      return told?.state ?? null;
    },
    over: (id, timeoutMs) => until(id, isOver, timeoutMs),
    tell: (observed) => {
      const { machineId } = observed;
      if (waiters.has(machineId)) wake(machineId, observed);
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
