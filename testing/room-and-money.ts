// SPDX-License-Identifier: Apache-2.0
/** What holds of room and money at every moment, whatever was asked and whoever died. */
import { sql } from "kysely";
import { expect } from "vitest";
import type { Db } from "#control/src/database/open.ts";

export async function expectRoomAndMoney(db: Db): Promise<void> {
  const { rows } = await sql<Record<string, number>>`
    select
      (select count(*)::int from hosts where cpu_used > cpu_millis or memory_used > memory_mib or disk_used > disk_mib) as oversold,
      (select count(*)::int from hosts h where
        h.cpu_used <> (select coalesce(sum((m.spec->>'cpuMillis')::int), 0) from machines m where m.host_id = h.id and m.holds_compute) or
        h.memory_used <> (select coalesce(sum((m.spec->>'memoryMiB')::int), 0) from machines m where m.host_id = h.id and m.holds_compute) or
        -- A disk that another host is still to fetch counts on both.
        h.disk_used <> (select coalesce(sum((m.spec->'kept'->>'diskMiB')::int + coalesce((m.spec->'kept'->>'scratchMiB')::int, 0)), 0) from machines m
          where m.host_id = h.id and m.holds_disk or m.disk_host_id = h.id)) as miscounted,
      (select count(*)::int from machines where (state in ('ended', 'failed') or host_id is null) and (holds_compute or holds_disk)) as hoarders,
      -- What waits for a place keeps its admission, so that it need not be affordable twice.
      (select count(*)::int from machines m join meters t on t.machine_id = m.id
        where t.state <> 'idle' and not m.holds_compute and not (m.host_id is null and m.want = 'up')) as metered_without_room,
      (select count(*)::int from machines m join workloads w on w.machine_id = m.id
        where w.deleted_at is null and m.state in ('ended', 'failed')) as lost,
      -- Stopped ones included, until they are deleted.
      (select count(*)::int from (
        select w.account_id, sum(w.disk_gb) as held from workloads w where w.deleted_at is null group by 1
      ) h full join (select account_id, used from quota_counters where quota = 'disk_gb') q using (account_id)
        where coalesce(h.held, 0) <> coalesce(q.used, 0)) as disk_miscounted,
      (select count(*)::int from balances b where b.rate_micros_per_min <>
        (select coalesce(sum(t.rate_micros_per_min), 0) from meters t where t.account_id = b.account_id and t.state <> 'idle')) as misrated,
      (select count(*)::int from balances b where b.balance_micros <>
        (select coalesce(sum(e.amount_micros), 0) from money_entries e where e.account_id = b.account_id)) as unbalanced`.execute(
    db,
  );
  expect(rows[0]).toEqual({
    oversold: 0,
    miscounted: 0,
    hoarders: 0,
    metered_without_room: 0,
    lost: 0,
    disk_miscounted: 0,
    misrated: 0,
    unbalanced: 0,
  });
}
