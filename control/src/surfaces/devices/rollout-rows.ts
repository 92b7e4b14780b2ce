// SPDX-License-Identifier: Apache-2.0
/** Rollouts in the database, and as the wire shows them. */
import { type RawBuilder, sql } from "kysely";
import type { Static } from "typebox";
import type { AbortGiven, Rollout, RolloutDevice } from "#contract/devices/rollouts.ts";
import { Fault } from "#contract/errors.ts";
import { append } from "../../core/journal/index.ts";
import type { Db, Tx } from "../../database/open.ts";
import type { Page } from "../../http/paging.ts";
import type { Figures, RolloutChange, Stage } from "./rollout-change.ts";
import type { Back, DeviceStatus } from "./rollout-verdict.ts";

export type RolloutStatus = Static<typeof Rollout>["Status"];
type Counts = Static<typeof Rollout>["Counts"];

export interface RolloutRow {
  id: string;
  party_id: string;
  account_id: string;
  name: string;
  change: RolloutChange;
  stages: Stage[];
  abort: Static<typeof AbortGiven>;
  rolls_back: boolean;
  figures: Figures | null;
  timeout_s: number;
  status: RolloutStatus;
  stage: number;
  reason: string | null;
  created_by: string;
  version: number;
  created_at: Date;
  updated_at: Date;
  ended_at: Date | null;
}

type Shown = RolloutRow & { counts: Counts; records: number };

const COUNTS = sql`
  select json_build_object('Total', count(*),
    'Queued', count(*) filter (where status = 'queued'),
    'InProgress', count(*) filter (where status = 'changing'),
    'Succeeded', count(*) filter (where status = 'healthy' and back is null),
    'Failed', count(*) filter (where status = 'failed'),
    'TimedOut', count(*) filter (where status = 'timed_out'),
    'Overtaken', count(*) filter (where status = 'overtaken'),
    'Skipped', count(*) filter (where status in ('skipped', 'gone')),
    'RollingBack', count(*) filter (where back = 'asked'),
    'RolledBack', count(*) filter (where back = 'done')) as counts
  from rollout_devices d where d.rollout_id = r.id`;

/** Only those on the page are counted out. */
async function pageOfRollouts(db: Db | Tx, condition: RawBuilder<unknown>, page: Page): Promise<Shown[]> {
  const { rows } = await sql<Shown>`
    with r as (
      select *, (count(*) over ())::int as records from rollouts where ${condition}
      order by ${page.order} limit ${page.limit} offset ${page.offset}
    )
    select r.*, p.account_id, c.counts from r join parties p on p.id = r.party_id cross join lateral (${COUNTS}) c
    order by ${page.order}`.execute(db);
  return rows;
}

export async function listRolloutRows(db: Db, party: string, status: RolloutStatus | undefined, page: Page) {
  const asked = status === undefined ? sql`true` : sql`status = ${status}`;
  const rows = await pageOfRollouts(db, sql`party_id = ${party} and ${asked}`, page);
  if (rows.length > 0 || page.offset === 0) return { rows, records: rows[0]?.records ?? 0 };
  const { rows: counted } = await sql<{ records: number }>`
    select count(*)::int as records from rollouts where party_id = ${party} and ${asked}`.execute(db);
  return { rows, records: counted[0]!.records };
}

const ONE: Page = { limit: 1, offset: 0, order: sql`created_at` };

export async function requireRollout(db: Db | Tx, party: string, id: string): Promise<Shown> {
  const [row] = await pageOfRollouts(db, sql`party_id = ${party} and id = ${id}`, ONE);
  if (row === undefined) throw new Fault("rollout.not-found", { uuid: id });
  return row;
}

export interface RolloutDeviceRow {
  device_id: string;
  name: string;
  server_id: string | null;
  server: string | null;
  stage: number | null;
  status: DeviceStatus;
  back: Back;
  error: string | null;
  version_before: number;
  version_given: number | null;
  version_back: number | null;
  since: Date;
}

export async function listRolloutDeviceRows(
  db: Db,
  rollout: string,
  status: DeviceStatus | undefined,
  page: Page,
): Promise<{ rows: RolloutDeviceRow[]; records: number }> {
  const asked = sql`r.rollout_id = ${rollout} and ${status === undefined ? sql`true` : sql`r.status = ${status}`}`;
  const { rows } = await sql<RolloutDeviceRow>`
    select r.*, coalesce(d.name, r.name) as name, sv.id as server_id, sv.name as server
    from rollout_devices r left join devices d on d.id = r.device_id left join servers sv on sv.id = d.server_id
    where ${asked} order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(db);
  const { rows: counted } = await sql<{ records: number }>`
    select count(*)::int as records from rollout_devices r where ${asked}`.execute(db);
  return { rows, records: counted[0]!.records };
}

export interface Move {
  status: RolloutStatus;
  reason?: string | null;
  /** Absent: the rollout itself. */
  by?: string;
}

const OVER: readonly RolloutStatus[] = ["succeeded", "cancelled", "aborted", "rolled_back"];
export const isOver = (status: RolloutStatus): boolean => OVER.includes(status);

/** Its row is locked. When it is over, its devices are free for another, and its models may go. */
export async function moveRollout(tx: Tx, row: RolloutRow, { status, reason = null, by }: Move) {
  const over = isOver(status);
  await sql`
    update rollouts set status = ${status}, reason = coalesce(${reason}::text, reason), version = version + 1,
      updated_at = date_trunc('milliseconds', now()), next_at = now(),
      ended_at = case when ${over} then date_trunc('milliseconds', now()) end
    where id = ${row.id}`.execute(tx);
  if (over) {
    await sql`update rollout_devices set open = false where rollout_id = ${row.id} and open`.execute(tx);
    await sql`delete from rollout_models where rollout_id = ${row.id}`.execute(tx);
  }
  await tellOfRollout(tx, row, status, { by, stage: row.stage, ...(reason !== null && { reason }) });
}

export const tellOfRollout = (tx: Tx, row: RolloutRow, what: string, payload: Record<string, unknown>) =>
  append(tx, { account: row.account_id, type: `rollout.${what}`, subject: row.id, payload });

export const viewRollout = (row: Shown): Static<typeof Rollout> => ({
  UUID: row.id,
  Name: row.name,
  Status: row.status,
  Reason: row.reason,
  Stage: row.stage,
  Stages: row.stages.map(({ Upto, HoldSeconds }, at) => ({
    Devices: Upto - (row.stages[at - 1]?.Upto ?? 0),
    HoldSeconds,
  })),
  Counts: row.counts,
  Figures: row.figures,
  Change: row.change,
  Abort: row.abort,
  Rollback: row.rolls_back,
  TimeoutSeconds: row.timeout_s,
  CreatedBy: row.created_by,
  CreatedAt: row.created_at.toISOString(),
  UpdatedAt: row.updated_at.toISOString(),
  EndedAt: row.ended_at?.toISOString() ?? null,
});

export const viewRolloutDevice = (row: RolloutDeviceRow): Static<typeof RolloutDevice> => ({
  Device: { UUID: row.device_id, Name: row.name },
  Server: row.server_id === null ? null : { ID: row.server_id, Name: row.server! },
  Stage: row.stage,
  Status: row.status,
  Rollback: row.back,
  Error: row.error,
  VersionBefore: row.version_before,
  Version: row.version_given,
  VersionBack: row.version_back,
  Since: row.since.toISOString(),
});
