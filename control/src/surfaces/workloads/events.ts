// SPDX-License-Identifier: Apache-2.0
/** The events of a workload, of which its status is a projection. */
import { randomUUID } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import type { listEvents } from "#contract/workloads/workloads.ts";
import type { Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { requireWorkload } from "./rows.ts";

/** Kind → status; a kind that is not here changes nothing. */
export const STATUS_OF: Record<string, string> = {
  created: "scheduled",
  starting: "starting",
  vmRestarted: "starting",
  forcedRestart: "starting",
  awaitingCert: "awaitingCert",
  running: "running",
  stopped: "stopped",
  failedToStart: "error",
};

/**
 * Clauses `event` and `subject` (id, account_id, status) for a statement whose clause `machine` (id) is
 * not empty: the event, and the status that follows from it. Nothing happens when `condition` does not hold.
 */
export function eventClauses(
  kind: string,
  details: { error?: string; message?: string },
  condition: RawBuilder<unknown> = sql`true`,
): RawBuilder<unknown> {
  const status = STATUS_OF[kind] ?? null;
  return sql`
    subject as (
      update workloads w set status = coalesce(${status}, w.status), updated_at = now()
      from machine where w.machine_id = machine.id and w.deleted_at is null and ${condition}
      returning w.id, w.account_id, w.status
    ),
    event as (
      insert into workload_events (workload_id, kind, details)
      select id, ${kind}, ${JSON.stringify(details)}::jsonb from subject
    )`;
}

export interface Submitted {
  eventId?: string;
  details: { kind: string; error?: string; message?: string };
}

/** Of one workload in an hour: whoever holds a host's key could fill the database otherwise (notices.ts, A). */
const SUBMITTED_PER_HOUR = 300;

/**
 * What a host says over HTTP of a workload that is on it; false when none is. The same event again changes
 * nothing, and so does one too many.
 */
export async function insertSubmitted(
  db: Db,
  host: string,
  workload: string,
  { eventId = randomUUID(), details: { kind, ...details } }: Submitted,
): Promise<boolean> {
  const status = STATUS_OF[kind] ?? null;
  const { rows } = await sql<{ known: boolean }>`
    with machine as (
      select m.id from machines m join workloads w on w.machine_id = m.id
      where w.id = ${workload}::uuid and m.host_id = ${host} and w.deleted_at is null for update of m
    ), event as (
      insert into workload_events (event_id, workload_id, kind, details)
      select ${eventId}::uuid, ${workload}::uuid, ${kind}, ${JSON.stringify(details)}::jsonb from machine
      where (select count(*) from workload_events
        where workload_id = ${workload}::uuid and at > now() - interval '1 hour') < ${SUBMITTED_PER_HOUR}
      on conflict (event_id) do nothing returning workload_id
    ), subject as (
      update workloads w set status = coalesce(${status}, w.status), updated_at = now()
      from event where w.id = event.workload_id
    )
    select exists (select from machine) as known`.execute(db);
  return rows[0]!.known;
}

export async function events(deps: Pick<Deps, "db">, call: Call<typeof listEvents>): Promise<Answer> {
  const workload = await requireWorkload(deps.db.soft, call.account.id, call.body.workloadId);
  const { rows } = await sql<{ event_id: string; kind: string; details: object; at: Date }>`
    select event_id, kind, details, at from workload_events
    where workload_id = ${workload.id}::uuid order by seq`.execute(deps.db.soft);
  return {
    status: 200,
    body: {
      events: rows.map(({ event_id, kind, details, at }) => ({
        eventId: event_id,
        details: { kind, ...details },
        timestamp: at.toISOString(),
      })),
    },
  };
}
