// SPDX-License-Identifier: Apache-2.0
/** Recording wishes: that a machine be, live longer, or end. Nothing remote happens in here. */
import { type RawBuilder, sql } from "kysely";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { Db, Tx } from "../../database/open.ts";
import type { EndTrigger, MachineRow } from "./machine.ts";

export interface MachineRequest {
  id: string;
  account: string;
  host: string;
  spec: MachineSpec;
  createdAt: Date;
  expiresAt: Date | null;
}

/** Clause `machine` of a larger statement. */
export function requestClause(ask: MachineRequest, when: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    machine as (
      insert into machines (id, account_id, host_id, spec, created_at, expires_at)
      select ${ask.id}, ${ask.account}, ${ask.host}, ${JSON.stringify(ask.spec)}::jsonb, ${ask.createdAt}, ${ask.expiresAt}
      where ${when} returning id
    )`;
}

/** Asks for the end. The first wish decides the trigger; a repeat changes nothing. */
export async function requestEnd(db: Db | Tx, id: string, trigger: EndTrigger): Promise<MachineRow | null> {
  const { rows } = await sql<MachineRow>`
    with ${endClause(sql`${id}`, trigger)} select * from machine`.execute(db);
  return rows[0] ?? null;
}

/** The same as clause `machine`: the row as it is now wished for, or none. */
export function endClause(id: RawBuilder<unknown>, trigger: EndTrigger): RawBuilder<unknown> {
  return sql`
    machine as (
      update machines set want = 'down', generation = generation + 1, end_trigger = ${trigger}
      where id = ${id} and want <> 'down' and state not in ('ended', 'failed') returning *
    )`;
}

/** Asks for the end of everything whose time is over by the database's clock. */
export async function requestExpired(db: Db, limit: number): Promise<MachineRow[]> {
  const { rows } = await sql<MachineRow>`
    update machines set want = 'down', generation = generation + 1, end_trigger = 'ttl'
    where id in (
      select id from machines where want = 'up' and state in ('requested', 'running') and expires_at <= now()
      order by expires_at limit ${limit} for update skip locked
    ) and want = 'up' returning *`.execute(db);
  return rows;
}

/** Moves the expiry later, never earlier. Null when the machine is no longer wanted up. */
export async function requestExpiry(tx: Tx, id: string, expiresAt: Date): Promise<MachineRow | null> {
  const row = await tx
    .updateTable("machines")
    .set((eb) => ({ expires_at: expiresAt, generation: eb("generation", "+", 1) }))
    .where("id", "=", id)
    .where("want", "=", "up")
    .where("state", "in", ["requested", "running"])
    .where("expires_at", ">", sql<Date>`now()`)
    .returningAll()
    .executeTakeFirst();
  return row ?? null;
}
