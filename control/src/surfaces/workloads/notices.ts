// SPDX-License-Identifier: Apache-2.0
/**
 * What a host says of a workload beside its state, as events that change no status. They come again
 * until the report is committed, so each has an id of the host's.
 *
 *  A. A host that was broken into can tell stories about its own machines and no others, and of them no
 *     more than so many in an hour: what it says beyond that is dropped, and acknowledged.
 */
import { sql } from "kysely";
import type { Notice, Observation } from "#contract/link/machine.ts";
import type { Database } from "../../database/open.ts";

const KINDS: Record<Notice["kind"], string> = { warning: "warning", image: "imageResolved" };
/** A host of ours makes one warning in a minute and a burst (host/kept/notices.ts), and an image for each service. */
const PER_HOUR = 300;

export async function keepNotices(
  db: Database,
  hostId: string,
  { machineId, notices = [] }: Observation,
): Promise<void> {
  if (notices.length === 0) return;
  const rows = notices.map(({ id, kind, message }) => ({ id, kind: KINDS[kind], message }));
  await sql`
    insert into workload_events (event_id, workload_id, kind, details)
    select n.id, w.id, n.kind, jsonb_build_object('message', n.message)
    from workloads w join machines m on m.id = w.machine_id,
      rows from (jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as (id uuid, kind text, message text)) with ordinality n (id, kind, message, position)
    where m.id = ${machineId} and m.host_id = ${hostId} and w.deleted_at is null
      and n.position + (
        select count(*) from workload_events e
        where e.workload_id = w.id and e.kind = any(${Object.values(KINDS)}) and e.at > now() - interval '1 hour'
      ) <= ${PER_HOUR}
    order by n.position
    on conflict (event_id) do nothing`.execute(db.run);
}
