// SPDX-License-Identifier: Apache-2.0
/** The meter's turn: charging what runs, telling who runs short, and stopping whom the grace has left. */
import { sql } from "kysely";
import { knownUntil } from "../../core/fleet/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import {
  listOverdue,
  meterAll,
  NOW,
  noticeClause,
  overdueMachines,
  stopMeterClauses,
} from "../../core/ledger/index.ts";
import { haltClause, type MachineRow, UNPLACED } from "../../core/machines/index.ts";
import type { Deps } from "./deps.ts";
import { eventClauses } from "./events.ts";

export interface MoneyTimes {
  /** Between two charges of an account. */
  meterEveryMs: number;
  /** Low: the balance covers less than this of what is up. */
  lowMs: number;
  /** Between the end of the money and the stop. */
  graceMs: number;
}

const BATCH = 200;

export async function meterTurn(
  { db, converger }: Pick<Deps, "db" | "converger">,
  { meterEveryMs, lowMs, graceMs }: MoneyTimes,
): Promise<void> {
  for (;;) {
    const turn = await meterAll(db.run, {
      ...{ limit: BATCH, afterMs: meterEveryMs, lowMs },
      until: knownUntil("x", NOW),
    });
    for (const notice of turn.notices) {
      const { account, kind, balanceMicros } = notice;
      const type = kind === "low" ? "balance.low" : "balance.exhausted";
      const entry = { account, type, subject: account, payload: { balance_micros: balanceMicros } };
      await sql`
        with ${noticeClause(notice)}, ${appendClauses(entry, sql`exists (select from notice)`)}
        select count(*) from entry`.execute(db.run);
    }
    if (turn.accounts < BATCH) break;
  }
  for (const { machine } of await listOverdue(db.soft, { limit: BATCH, graceMs })) {
    const message = "stopped: the account has had no balance for the grace period";
    // Asked again inside: a payment that has just come saves it.
    const still = sql`(select machine_id from (${overdueMachines({ graceMs })}) overdue where machine_id = ${machine})`;
    const { rows } = await sql<{ machine: MachineRow | null }>`
      with ${haltClause(still)}, ${eventClauses("warning", { message })}, ${stopMeterClauses({ when: UNPLACED })}
      select (select to_jsonb(machine) from machine) as machine`.execute(db.run);
    const halted = rows[0]?.machine;
    if (halted) converger.send({ ...halted, expires_at: null }, new Date());
  }
}
