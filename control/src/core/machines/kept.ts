// SPDX-License-Identifier: Apache-2.0
/** Wishes about kept machines: clauses `machine` of a surface's statement. Rooms and money are its own clauses. */
import { type RawBuilder, sql } from "kysely";
import type { MachineSpec } from "#contract/link/machine.ts";

export interface KeptRequest {
  id: string;
  account: string;
  surface: string;
  spec: MachineSpec;
}

/** A new machine on the host of the clause `room`; none when there is no room. */
export function requestKeptClause(ask: KeptRequest): RawBuilder<unknown> {
  return sql`
    machine as (
      insert into machines (id, account_id, host_id, surface, spec, created_at, holds_compute, holds_disk)
      select ${ask.id}, ${ask.account}, room.id, ${ask.surface}, ${JSON.stringify(ask.spec)}::jsonb, now(), true, true
      from room returning *
    )`;
}

/**
 * Up under a new incarnation, where `condition` holds. A machine that holds no compute must have taken
 * it in the same statement.
 */
export function startClause(id: RawBuilder<unknown>, condition: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    machine as (
      update machines set want = 'up', incarnation = incarnation + 1, generation = generation + 1,
        holds_compute = true, fault = null
      where id = ${id} and want <> 'down' and state not in ('ended', 'failed') and ${condition}
      returning *
    )`;
}

export function haltClause(id: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    machine as (
      update machines set want = 'halted', generation = generation + 1
      where id = ${id} and want = 'up' and state not in ('ended', 'failed')
      returning *
    )`;
}
