// SPDX-License-Identifier: Apache-2.0
/** Sessions in the database. Another account's session is indistinguishable from a missing one. */
import { type Selectable, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import { endClause, type MachineRow } from "../../core/machines/index.ts";
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

/** A session with the host that has its machine. */
export type PlacedSession = SessionRow & { host_id: string | null };

/** Null when this call did not take the session; only one command runs at a time. */
export async function takeForExec(
  db: Db,
  account: string,
  id: string,
  replica: string,
): Promise<PlacedSession | null> {
  if (!ID.test(id)) return null;
  const { rows } = await sql<PlacedSession>`
    update sessions s set status = 'executing', executing_by = ${replica}, version = s.version + 1
    from machines m
    where s.id = ${id} and s.account_id = ${account} and s.status = 'active' and m.id = s.machine_id and m.want = 'up'
    returning s.*, m.expires_at, m.end_trigger, m.host_id`.execute(db);
  return rows[0] ?? null;
}

/** A session, and the machine whose end was wished for just now: null when it had been wished for, or is over. */
export async function wishForEnd(
  db: Db,
  account: string,
  id: string,
): Promise<{ session: SessionRow; machine: MachineRow | null } | null> {
  if (!ID.test(id)) return null;
  const { rows } = await sql<SessionRow & { wished: MachineRow | null }>`
    with session as (
      select s.*, m.expires_at, m.end_trigger from sessions s join machines m on m.id = s.machine_id
      where s.id = ${id} and s.account_id = ${account}
    ), ${endClause(sql`(select machine_id from session where ended_at is null)`, "api")}
    select session.*, to_jsonb(machine) as wished from session left join machine on true`.execute(db);
  if (rows[0] === undefined) return null;
  const { wished, ...session } = rows[0];
  return { session, machine: wished && { ...wished, expires_at: session.expires_at } };
}

export interface EndedSession extends SessionRow {
  document: Buffer | null;
  salt_sealed: Buffer | null;
}

/** A session with its proof; `document` is null when there is none, or none yet. */
export async function requireWithProof(db: Db, account: string, id: string): Promise<EndedSession> {
  const { rows } = await sql<EndedSession>`
    select s.*, m.expires_at, m.end_trigger, p.document, p.salt_sealed
    from sessions s join machines m on m.id = s.machine_id left join proofs p on p.subject_id = s.id
    where s.id = ${ID.test(id) ? id : ""} and s.account_id = ${account}`.execute(db);
  if (rows[0] === undefined) throw new Fault("session.not-found");
  return rows[0];
}
