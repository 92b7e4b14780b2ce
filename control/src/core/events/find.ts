// SPDX-License-Identifier: Apache-2.0
/** Events in the journal. They are readable for 30 days, however long the journal itself is kept. */
import { sql } from "kysely";
import { EVENT_TYPES, type EventType } from "#contract/platform/vocabulary.ts";
import type { Database, Db } from "../../database/open.ts";
import { type EventRow, journalTypesOf } from "./project.ts";

const READABLE = sql`payload is not null and at > now() - interval '30 days'`;
const COLUMNS = sql.raw("seq, at, type, subject, payload");

/** Ids are made of numbers, and a number that is shown must not be given again after a crash of the database. */
async function shown(db: Database, { rows }: { rows: EventRow[] }): Promise<EventRow[]> {
  if (rows.length > 0) await db.settled();
  return rows;
}

/** Newest first, before `before`. */
export const listEventRows = async (
  db: Database,
  account: string,
  { types, before, limit }: { types: readonly EventType[]; before: number | null; limit: number },
): Promise<EventRow[]> =>
  shown(
    db,
    await sql<EventRow>`
      select ${COLUMNS} from journal
      where account_id = ${account} and type = any(${journalTypesOf(types)}) and ${READABLE}
        and (${before}::bigint is null or seq < ${before}::bigint)
      order by seq desc limit ${limit}`.execute(db.soft),
  );

/** In order, after `seq`. */
export const eventRowsAfter = (
  db: Database,
  account: string,
  { types, seq, limit }: { types: readonly EventType[]; seq: number; limit: number },
): Promise<EventRow[]> => journalRowsAfter(db, account, { types: journalTypesOf(types), seq, limit });

/** The same of the journal's own types, for whoever shows them in a form of its own. */
export const journalRowsAfter = async (
  db: Database,
  account: string,
  { types, seq, limit, subject = null }: JournalAsked & { seq: number; limit: number },
): Promise<EventRow[]> =>
  shown(
    db,
    await sql<EventRow>`
      select ${COLUMNS} from journal
      where account_id = ${account} and type = any(${types}) and ${READABLE} and seq > ${seq}
        and (${subject}::text is null or subject = ${subject}::text)
      order by seq limit ${limit}`.execute(db.soft),
  );

export interface JournalAsked {
  types: readonly string[];
  subject?: string | null;
}

export async function findEventRow(db: Db, account: string, seq: number): Promise<EventRow | null> {
  const { rows } = await sql<EventRow>`
    select ${COLUMNS} from journal
    where account_id = ${account} and seq = ${seq} and type = any(${journalTypesOf(EVENT_TYPES)}) and ${READABLE}`.execute(
    db,
  );
  return rows[0] ?? null;
}

export interface Readable {
  /** The newest entry's number. */
  newest: number;
  /** True when an event after `seq` can be read no more. */
  pruned: boolean;
}

/** Whether somebody who has read up to `seq` has missed something. */
export async function readableAfter(
  db: Db,
  account: string,
  seq: number,
  types: readonly string[] = journalTypesOf(EVENT_TYPES),
): Promise<Readable> {
  const { rows } = await sql<Readable>`
    select journal_seq as newest,
      exists (select from journal j where j.account_id = a.id and j.seq > ${seq}
        and j.type = any(${types}) and not (${READABLE}))
      or exists (select from journal_checkpoints c where c.account_id = a.id and c.seq > ${seq}) as pruned
    from accounts a where id = ${account}`.execute(db);
  return rows[0]!;
}
