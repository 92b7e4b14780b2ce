// SPDX-License-Identifier: Apache-2.0
/** Entries for tests and measurements of the log, as the end of a session leaves them, many at once. */
import { sql } from "kysely";
import type { Database } from "../../database/open.ts";

/** `kind` tells them from others of the same number. */
export async function addLeaves(db: Database, count: number, kind = "entry"): Promise<void> {
  await sql`
    with was as (update proof_log set size = size + ${count} returning size - ${count} as size),
    one as (select was.size + n as position from was, generate_series(0, ${count} - 1) n),
    machine as (
      insert into machines (id, host_id, spec, surface, created_at)
      select 'mach_' || md5(${kind} || position), 'mine', '{}', 'instances', now() from one)
    insert into proof_leaves (position, machine_id, entry, leaf_hash)
    select position, 'mach_' || md5(${kind} || position), convert_to(${kind} || position, 'utf8'),
      sha256('\\x00'::bytea || convert_to(${kind} || position, 'utf8'))
    from one`.execute(db.run);
}
