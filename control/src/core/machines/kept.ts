// SPDX-License-Identifier: Apache-2.0
/** Wishes about kept machines: clauses `machine` of a surface's statement. Rooms and money are its own clauses. */
import { type RawBuilder, sql } from "kysely";
import type { MachineSpec } from "#contract/link/machine.ts";
import { releaseClause } from "../fleet/index.ts";
import { leaveClause, stayClause } from "./leavings.ts";

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
      from room returning id, host_id, want, generation, incarnation
    )`;
}

/**
 * Up under a new incarnation, where `condition` holds. A machine that holds no compute must have taken
 * it in the same statement, unless it is on no host: then it waits for a place.
 */
export function startClause(id: RawBuilder<unknown>, condition: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    machine as (
      update machines set want = 'up', incarnation = incarnation + 1, generation = generation + 1,
        holds_compute = host_id is not null, fault = null
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

/**
 * Off its host, which is to have it no more: it waits for a place, under a new incarnation, with what it
 * had there given up. What it kept on that host's disk is lost. `failed`: that host is not tried again. It
 * is told in leavings.ts that it has it no more, even when we die after this.
 */
export function displaceClauses(
  id: RawBuilder<unknown>,
  host: string,
  { when = sql`true`, failed = false }: { when?: RawBuilder<unknown>; failed?: boolean } = {},
): RawBuilder<unknown> {
  return sql`
    before as (
      select * from machines
      where id = ${id} and host_id = ${host} and spec ? 'kept' and want <> 'down' and state not in ('ended', 'failed')
        and ${when}
      for update
    ),
    machine as (
      update machines m set host_id = null, state = 'requested', incarnation = m.incarnation + 1,
        generation = m.generation + 1, holds_compute = false, holds_disk = false, started_at = null,
        failed_hosts = case when ${failed} then m.failed_hosts || ${host}::text else m.failed_hosts end
      from before where m.id = before.id
      returning m.id, m.account_id, m.spec, m.want, m.generation, m.incarnation, m.end_trigger, before.host_id,
        before.holds_compute as freed_compute, before.holds_disk as freed_disk
    ), ${leaveClause()}, ${releaseClause()}`;
}

/** Of the row `machine`: it is on no host, and waits for a place. */
export const UNPLACED = sql`machine.host_id is null`;

/**
 * On the host of the clause `room`, when it still waits for a place and wants what the room is for. It may
 * come back to a host that it was taken off: what that has still to say of then, above all that it has
 * ended, is about an older start, and counts no more.
 */
export function placeClause(want: "up" | "halted"): RawBuilder<unknown> {
  return sql`
    machine as (
      update machines m set host_id = room.id, generation = m.generation + 1,
        incarnation = m.incarnation + 1, observed_incarnation = m.incarnation + 1,
        holds_compute = ${want === "up"}, holds_disk = true
      from room, waiting where m.id = waiting.id
      returning m.*
    ), ${stayClause()}`;
}

/** Clause `waiting`, to stand before the room is taken: it is still there, and locked. */
export function waitingClause(id: string, want: "up" | "halted"): RawBuilder<unknown> {
  return sql`
    waiting as (
      select id from machines
      where id = ${id} and host_id is null and want = ${want} and state = 'requested' and spec ? 'kept'
      for update skip locked
    )`;
}
