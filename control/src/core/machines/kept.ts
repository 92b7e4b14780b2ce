// SPDX-License-Identifier: Apache-2.0
/** Wishes about kept machines: clauses `machine` of a surface's statement. Rooms and money are its own clauses. */
import { type RawBuilder, sql } from "kysely";
import type { MachineSpec } from "#contract/link/machine.ts";
import { releaseClause, releaseDiskClause } from "../fleet/index.ts";
import { leaveClause, stayClause } from "./leavings.ts";

export interface KeptRequest {
  id: string;
  /** Null: nobody's yet. */
  account: string | null;
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
 * Of a row `machines` on this host: its disk can be fetched by another. It is there once it ran, it is ciphertext to
 * whoever carries it, and the host is still one.
 */
const canTravel = (host: string): RawBuilder<unknown> => sql`(started_at is not null
  and spec->>'isolation' like 'vm%' and (spec->'kept'->>'diskMiB')::int > 0
  and exists (select from hosts h where h.id = ${host}::text and h.revoked_at is null))`;

/** Its disk is on that host and can be fetched, or is on another already. */
export const keepsDisk = (host: string): RawBuilder<unknown> =>
  sql`(disk_host_id is not null or ${canTravel(host)})`;

/**
 * Off its host, which is to have it no more: it waits for a place, under a new incarnation, with what it
 * had there given up. A disk that can be fetched stays until it was, and holds its room; any other is
 * lost. `failed`: that host is not tried again. It
 * is told in leavings.ts that it has it no more, even when we die after this.
 */
export function displaceClauses(
  id: RawBuilder<unknown>,
  host: string,
  { when = sql`true`, failed = false }: { when?: RawBuilder<unknown>; failed?: boolean } = {},
): RawBuilder<unknown> {
  return sql`
    before as (
      select *, case when ${canTravel(host)} then ${host}::text end as disk_at from machines
      where id = ${id} and host_id = ${host} and spec ? 'kept' and want <> 'down' and state not in ('ended', 'failed')
        and ${when}
      for update
    ),
    machine as (
      update machines m set host_id = null, state = 'requested', incarnation = m.incarnation + 1,
        generation = m.generation + 1, holds_compute = false, holds_disk = false,
        disk_host_id = coalesce(m.disk_host_id, before.disk_at),
        -- With its disk it is one that ran: another's failure to start it is no reason to look further.
        started_at = case when coalesce(m.disk_host_id, before.disk_at) is null then null else m.started_at end,
        failed_hosts = case when ${failed} then m.failed_hosts || ${host}::text else m.failed_hosts end
      from before where m.id = before.id
      returning m.id, m.account_id, m.spec, m.want, m.generation, m.incarnation, m.end_trigger, before.host_id,
        m.disk_host_id, m.carry, before.holds_compute as freed_compute,
        before.holds_disk and m.disk_host_id is distinct from before.host_id as freed_disk
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
        holds_compute = ${want === "up"}, holds_disk = true,
        -- Where its disk is, nothing is to come.
        disk_host_id = nullif(m.disk_host_id, room.id), carry = m.carry + 1
      from room, waiting where m.id = waiting.id
      returning m.*
    ), ${stayClause()}`;
}

/** Its disk is on `to` now, whole, as it was sent for this giving to that host. The old place has it no more. */
export function arriveClauses(
  id: string,
  { from, to, carry }: { from: string; to: string; carry: number },
): RawBuilder<unknown> {
  return forgetDiskClauses(sql`id = ${id} and host_id = ${to} and disk_host_id = ${from} and carry = ${carry}
    and want <> 'down' and state not in ('ended', 'failed')`);
}

/** Clauses `machine` and `freed`: the disk of one that is not where it is, is nobody's concern any more. */
export const forgetDiskClauses = (when: RawBuilder<unknown>): RawBuilder<unknown> => sql`
  before as (
    select id, disk_host_id from machines where disk_host_id is not null and ${when} for update
  ),
  machine as (
    update machines m set disk_host_id = null, generation = m.generation + 1
    from before where m.id = before.id
    returning m.*, before.disk_host_id as disk_was_at
  ),
  ${releaseDiskClause()}`;

/** Clause `waiting`, to stand before the room is taken: it is still there, its disk where it was, and locked. */
export function waitingClause(
  id: string,
  want: "up" | "halted",
  diskHost: string | null,
): RawBuilder<unknown> {
  return sql`
    waiting as (
      select id from machines
      where id = ${id} and host_id is null and want = ${want} and state = 'requested' and spec ? 'kept'
        and disk_host_id is not distinct from ${diskHost}::text
      for update skip locked
    )`;
}
