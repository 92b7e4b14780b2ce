// SPDX-License-Identifier: Apache-2.0
/** Sessions in the database. Another account's session is indistinguishable from a missing one. */
import { type Selectable, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Db, Tx } from "../../database/open.ts";
import type { Tables } from "../../database/tables.ts";

export type SessionRow = Selectable<Tables["sessions"]> & {
  expires_at: Date | null;
  end_trigger: string | null;
};

const ID = /^sess_[0-9a-f]{32}$/;

export async function findSession(db: Db | Tx, account: string, id: string): Promise<SessionRow | null> {
  if (!ID.test(id)) return null;
  const row = await db
    .selectFrom("sessions")
    .innerJoin("machines", "machines.id", "sessions.machine_id")
    .selectAll("sessions")
    .select(["machines.expires_at", "machines.end_trigger"])
    .where("sessions.id", "=", id)
    .where("sessions.account_id", "=", account)
    .executeTakeFirst();
  return row ?? null;
}

export async function requireSession(db: Db | Tx, account: string, id: string): Promise<SessionRow> {
  const row = await findSession(db, account, id);
  if (row === null) throw new Fault("session.not-found");
  return row;
}

export interface Page {
  account: string;
  status: string | null;
  after: { createdAt: string; id: string } | null;
  limit: number;
}

/** Newest first; the cursor is the last row's place, so rows that come or go shift nothing. */
export async function listSessionRows(db: Db, page: Page): Promise<SessionRow[]> {
  const { rows } = await sql<SessionRow>`
    select s.*, m.expires_at, m.end_trigger
    from sessions s join machines m on m.id = s.machine_id
    where s.account_id = ${page.account}
      and (${page.status}::text is null or s.status = ${page.status})
      and (${page.after?.id ?? null}::text is null
           or (s.created_at, s.id) < (${page.after?.createdAt ?? null}::timestamptz, ${page.after?.id ?? null}))
    order by s.created_at desc, s.id desc limit ${page.limit}`.execute(db);
  return rows;
}

/** True when this call took the session; only one command runs at a time. */
export async function takeForExec(
  db: Db,
  account: string,
  id: string,
  replica: string,
): Promise<SessionRow | null> {
  const { rows } = await sql<SessionRow>`
    update sessions s set status = 'executing', executing_by = ${replica}, version = s.version + 1
    from machines m
    where s.id = ${id} and s.account_id = ${account} and s.status = 'active' and m.id = s.machine_id and m.want = 'up'
    returning s.*, m.expires_at, m.end_trigger`.execute(db);
  return rows[0] ?? null;
}
