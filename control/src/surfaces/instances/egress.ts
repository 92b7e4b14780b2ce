// SPDX-License-Identifier: Apache-2.0
/**
 * What instances have sent: asked of their hosts every few seconds. It is the host's kernel that counts and cuts, also while nobody asks; here
 * is what is shown of it, and what a start goes on from when its host has lost its count.
 *
 *  A. A host is believed about machines that it was given, and about no other.
 *  B. A count only grows, and a block stays with the time that it was first told with: a host that was set back, or another one, takes
 *     nothing back. Who was blocked is told once, in the statement that records it.
 *  C. Nothing is said of one that no host counts: what has not been observed is not 0.
 */
import { type RawBuilder, sql } from "kysely";
import { Compile } from "typebox/compile";
import { Fault } from "#contract/errors.ts";
import { type EgressFacts, EgressTold } from "#contract/link/kept.ts";
import { askHost } from "../../core/fleet/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import type { Database, Db } from "../../database/open.ts";
import type { Deps } from "./deps.ts";
import { instant } from "./instant.ts";

type Needs = Pick<Deps, "db" | "fleet">;

/** How old an observation may be that says the same as before. */
const SAME_SECONDS = 60;
/** A host tells the last count of one that is gone for as long. */
const GONE_MINUTES = 10;
const check = Compile(EgressTold);
const underWay = new Set<string>();

/** One turn: hosts that are connected here and have instances. They are asked at once, and not waited for. */
export async function egressTurn(needs: Needs, onError: (error: unknown) => void): Promise<void> {
  const held = needs.fleet.held();
  if (held.length === 0) return;
  const { rows } = await sql<{ host_id: string }>`
    select distinct m.host_id from instances i join machines m on m.id = i.machine_id
    where m.host_id = any(${held}::text[]) and (i.status in ('provisioning', 'ready', 'failed', 'terminating')
      or i.terminated_at > now() - make_interval(mins => ${GONE_MINUTES}))`.execute(needs.db.soft);
  for (const { host_id } of rows) {
    if (underWay.has(host_id)) continue;
    underWay.add(host_id);
    askHost<unknown>(needs.fleet, host_id, { kind: "egress" })
      .then((told) => noteEgress(needs.db, host_id, told))
      .catch((error: unknown) => {
        // It is away, or too old to know; it is asked again.
        if (!(error instanceof Fault)) onError(error);
      })
      .finally(() => underWay.delete(host_id));
  }
}

/** @param told A host's words. */
export async function noteEgress(db: Database, host: string, told: unknown): Promise<void> {
  if (!check.Check(told)) throw new Error(`host ${host} says of what was sent what cannot be understood`);
  if (told.length === 0) return;
  const { rows } = await sql<{ machine_id: string }>`
    with told as (
      select * from unnest(${told.map((one) => one.machineId)}::text[], ${told.map((one) => one.sentBytes)}::bigint[])
        as told (machine_id, sent_bytes)
    ), own as (
      select i.id, i.machine_id, i.status, max(told.sent_bytes) as sent_bytes from told
      join machines m on m.id = told.machine_id and m.host_id = ${host} join instances i on i.machine_id = m.id group by i.id
    ), noted as (
      insert into instance_egress as e (instance_id, sent_bytes, observed_at) select id, sent_bytes, now() from own order by id
      on conflict (instance_id) do update set sent_bytes = greatest(e.sent_bytes, excluded.sent_bytes),
        observed_at = greatest(e.observed_at, excluded.observed_at), version = e.version + 1
        where excluded.sent_bytes > e.sent_bytes
          or (excluded.observed_at > e.observed_at + make_interval(secs => ${SAME_SECONDS})
            and (select status from own where own.id = e.instance_id) <> 'terminated')
    )
    select own.machine_id from own left join instance_egress e on e.instance_id = own.id
    where own.machine_id = any(${told.filter((one) => one.cutAtMs !== null).map((one) => one.machineId)}::text[])
      and e.blocked_at is null`.execute(db.run);
  const fresh = new Set(rows.map(({ machine_id }) => machine_id));
  for (const one of told) if (fresh.has(one.machineId)) await noteBlock(db, one);
}

/** The host's clock is not ours: it was after the instance was made, and is not to come. */
async function noteBlock(db: Database, { machineId, sentBytes, cutAtMs }: EgressFacts): Promise<void> {
  const about = {
    account: sql`(select account_id from subject)`,
    type: sql`${"instance.egress_blocked"}`,
    subject: sql`(select name from subject)`,
    payload: { egress_bytes: sentBytes },
  };
  await sql`
    with subject as (
      update instance_egress e set version = e.version + 1,
        blocked_at = greatest(i.created_at, least(now(), to_timestamp(${Math.floor(cutAtMs ?? 0) / 1000}::float8)))
      from instances i where i.machine_id = ${machineId} and e.instance_id = i.id and e.blocked_at is null
      returning i.account_id, i.name
    ),
    ${appendClauses(about, sql`exists (select from subject)`)}
    select (select count(*) from entry)`.execute(db.run);
}

export interface EgressRow {
  egress_bytes: number;
  egress_observed_at: Date | null;
  egress_block_applied_at: Date | null;
}

/** Of `instance_egress e`, which may have no row. C */
export const EGRESS_COLUMNS: RawBuilder<unknown> = sql`coalesce(e.sent_bytes, 0) as egress_bytes,
  e.observed_at as egress_observed_at, e.blocked_at as egress_block_applied_at`;

/** Of all that an account has now: their sum, the last look, and since when one of them is blocked. */
export async function egressOfActive(db: Db, account: string): Promise<EgressRow> {
  const { rows } = await sql<EgressRow>`
    select coalesce(sum(e.sent_bytes), 0)::bigint as egress_bytes, max(e.observed_at) as egress_observed_at,
      min(e.blocked_at) as egress_block_applied_at
    from instances i join instance_egress e on e.instance_id = i.id
    where i.account_id = ${account} and i.status in ('provisioning', 'ready', 'terminating')`.execute(db);
  return rows[0]!;
}

export const viewEgress = (row: EgressRow) => ({
  egress_observed_at: row.egress_observed_at === null ? null : instant(row.egress_observed_at),
  egress_blocked: row.egress_block_applied_at !== null,
  egress_block_applied_at: row.egress_block_applied_at === null ? null : instant(row.egress_block_applied_at),
});
