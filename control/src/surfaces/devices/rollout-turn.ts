// SPDX-License-Identifier: Apache-2.0
/**
 * The course of rollouts. Each turn looks at one that is due, in one transaction: what its devices' servers
 * have reported, whether too much went wrong, and what is to be done next.
 *
 *     running ──all stages held──▶ succeeded
 *      │  ▲ ╲──cancel──▶ cancelled
 *      ▼  │  ╲──too much failed, or asked──▶ rolling_back ──▶ rolled_back
 *     paused  ╲──too much failed, and nothing is taken back──▶ aborted
 *
 *  A. All of it is in the rows, and when to look again too. Whichever replica takes a rollout goes on where
 *     the last turn was committed; of two, one passes over what the other holds. Time is the database's.
 *  B. A device is changed, or taken back, with its server told, and its row here, in the same transaction.
 *  C. A device that fails within what is tolerated is taken back alone, at once: its server would refuse
 *     every later wish as well.
 *  D. Locks: rollout, then servers, devices and the account as whoever saves pipelines (pipelines.ts, C).
 *  E. Taking back is not checked as a save is: what ran before is better than what failed.
 */
import { sql } from "kysely";
import type { Logger } from "pino";
import type { Database, Tx } from "../../database/open.ts";
import type { KeptPipeline } from "./checks.ts";
import { knownModels } from "./models.ts";
import { modelsOf, PIPELINES_ROWS, type PipelinesRow, write } from "./pipelines.ts";
import { exceeded, type Figures } from "./rollout-change.ts";
import { applied, modelsNeeded } from "./rollout-plan.ts";
import { moveRollout, type RolloutRow, tellOfRollout } from "./rollout-rows.ts";
import { type Seen, type Verdict, verdictOf } from "./rollout-verdict.ts";
import { tellServers } from "./tell.ts";

/** Devices that are changed in one transaction: others wait for their account's journal meanwhile. */
const BATCH = 50;
const TURNS_MAX = 100;
const AFTER_FAULT_S = 10;
/** A server that polls is heard of well within this. */
const SILENT_S = 75;

/** Figures are added up at every so manieth look. */
const FIGURES_EVERY = 5;

type Due = RolloutRow & { held: boolean; adds_up: boolean };

/** Looks at what is due. */
export async function rolloutsTurn(
  { db, log }: { db: Database; log: Logger },
  everyMs: number,
): Promise<void> {
  for (let turns = 0; turns < TURNS_MAX; turns++) {
    let at: string | null = null;
    try {
      const any = await db.write(async (tx) => {
        const due = await take(tx, everyMs);
        if (due === null) return false;
        at = due.id;
        const more = await turn(tx, due);
        await sql`
          update rollouts set next_at = now() + make_interval(secs => ${more ? 0 : everyMs / 1000}::float8)
          where id = ${due.id}`.execute(tx);
        return true;
      });
      if (!any) return;
    } catch (error) {
      if (at === null) throw error;
      // One that cannot go on keeps no other waiting.
      log.warn({ err: error, rollout: at }, "a rollout could not go on");
      await sql`
        update rollouts set next_at = now() + make_interval(secs => ${AFTER_FAULT_S}) where id = ${at}`.execute(
        db.run,
      );
    }
  }
}

/** A */
async function take(tx: Tx, everyMs: number): Promise<Due | null> {
  const { rows } = await sql<Due>`
    select r.*, p.account_id, coalesce(
      r.settled_at <= now() - make_interval(secs => (r.stages->r.stage->>'HoldSeconds')::int), false) as held,
      coalesce(r.figures_at < now() - make_interval(secs => ${(FIGURES_EVERY * everyMs) / 1000}::float8), true) as adds_up
    from rollouts r join parties p on p.id = r.party_id
    where r.ended_at is null and r.next_at <= now() and p.deleted_at is null
    order by r.next_at limit 1 for update of r skip locked`.execute(tx);
  return rows[0] ?? null;
}

interface Tally {
  queued: number;
  changing: number;
  asked: number;
  changed: number;
  failed: number;
  timedOut: number;
}

/** True: there is more to do at once. */
async function turn(tx: Tx, row: Due): Promise<boolean> {
  await judge(tx, row);
  const tally = await count(tx, row);
  if (row.status !== "rolling_back") {
    const reason = exceeded(row.abort, tally, await figuresOf(tx, row));
    if (reason !== null) {
      await moveRollout(tx, row, { status: row.rolls_back ? "rolling_back" : "aborted", reason });
      return row.rolls_back;
    }
  }
  if (await takeBack(tx, row)) return true;
  if (row.status === "rolling_back") {
    if (tally.asked === 0) await moveRollout(tx, row, { status: "rolled_back" });
    return false;
  }
  if (row.status !== "running") return false;
  if (tally.queued > 0) return give(tx, row);
  if (tally.changing > 0) return false;
  return goOn(tx, row, tally);
}

/** Every device of the stage is what it will be: the stage is held, and then the next one begins. */
async function goOn(tx: Tx, row: Due, tally: Tally): Promise<boolean> {
  const { Upto, HoldSeconds } = row.stages[row.stage]!;
  const empty = Upto === (row.stages[row.stage - 1]?.Upto ?? 0);
  if (!row.held && !empty && HoldSeconds > 0) {
    await sql`update rollouts set settled_at = coalesce(settled_at, now()) where id = ${row.id}`.execute(tx);
    return false;
  }
  if (row.stage < row.stages.length - 1) {
    const stage = row.stage + 1;
    await sql`
      update rollouts set stage = ${stage}, settled_at = null, version = version + 1,
        updated_at = date_trunc('milliseconds', now()) where id = ${row.id}`.execute(tx);
    await tellOfRollout(tx, row, "stage_begun", { stage, devices: row.stages[stage]!.Upto - Upto });
    return true;
  }
  if (tally.asked > 0) return false;
  await moveRollout(tx, row, { status: "succeeded" });
  return false;
}

/** Of samples that began after the change; added up now and then, and only when it is asked for. */
async function figuresOf(tx: Tx, row: Due): Promise<Figures | null> {
  if (row.abort.ErrorPercent === undefined || !row.adds_up) return row.figures;
  const { rows } = await sql<{ figures: Figures }>`
    update rollouts set figures_at = now(), figures = (
      select json_build_object('Frames', coalesce(sum(t.frames), 0), 'Errors', coalesce(sum(t.errors), 0))
      from rollout_devices r join device_telemetry t on t.device_id = r.device_id and t.started_at >= r.changed_at
        and t.ended_at >= r.changed_at
      where ${HERE(row)} and r.status in ('changing', 'healthy', 'failed', 'timed_out') and r.back is null)
    where id = ${row.id} returning figures`.execute(tx);
  return rows[0]!.figures;
}

const HERE = (row: RolloutRow) => sql`r.rollout_id = ${row.id} and r.open`;

async function count(tx: Tx, row: RolloutRow): Promise<Tally> {
  const { rows } = await sql<Tally>`
    select
      count(*) filter (where status = 'queued' and stage <= ${row.stage})::int as queued,
      count(*) filter (where status = 'changing')::int as changing,
      count(*) filter (where back = 'asked')::int as asked,
      count(*) filter (where status in ('changing', 'healthy', 'failed', 'timed_out'))::int as changed,
      count(*) filter (where status = 'failed')::int as failed,
      count(*) filter (where status = 'timed_out')::int as "timedOut"
    from rollout_devices r where ${HERE(row)}`.execute(tx);
  return rows[0]!;
}

/** What was reported since. */
async function judge(tx: Tx, row: RolloutRow): Promise<void> {
  const timeout = sql`make_interval(secs => ${row.timeout_s}::int)`;
  const { rows } = await sql<Seen & { id: string; error: string | null }>`
    select r.device_id as id, r.status, r.back, d.id is null as gone,
      coalesce(d.pipelines_version = coalesce(r.version_back, r.version_given, r.version_before), false) as ours,
      coalesce(sv.reported_version >= r.wish, false) as taken,
      coalesce(sv.tried_version >= r.wish, false) as tried,
      coalesce(sv.tried_version > sv.reported_version, false) as "trialFailed",
      coalesce(sv.failed_devices = '{}' or r.device_id = any(sv.failed_devices), false) as named,
      coalesce(sv.health, 'unknown') as health, left(sv.errors->>0, 500) as error,
      coalesce(sv.last_seen > r.since, false) as heard,
      coalesce(sv.last_seen < now() - greatest(${timeout}, make_interval(secs => ${SILENT_S}::int)), true) as silent,
      r.since < now() - ${timeout} as late
    from rollout_devices r left join devices d on d.id = r.device_id left join servers sv on sv.id = d.server_id
    where ${HERE(row)} and r.status not in ('overtaken', 'gone', 'skipped') and r.back is distinct from 'done'`.execute(
    tx,
  );
  const news = rows
    .map((seen) => ({ seen, verdict: verdictOf(seen) }))
    .filter(({ seen, verdict }) => seen.status !== verdict.status || seen.back !== verdict.back)
    .map(({ seen, verdict }) => ({
      id: seen.id,
      ...verdict,
      error: verdict.status === "failed" && seen.status !== "failed" ? seen.error : null,
    }));
  if (news.length > 0) await keep(tx, row, news);
}

type News = Verdict & { id: string; error: string | null };

async function keep(tx: Tx, row: RolloutRow, news: readonly News[]): Promise<void> {
  await sql`
    update rollout_devices r set status = each.status, back = each.back, since = now(),
      error = coalesce(each.error, r.error)
    from unnest(${news.map(({ id }) => id)}::uuid[], ${news.map(({ status }) => status)}::text[],
      ${news.map(({ back }) => back)}::text[], ${news.map(({ error }) => error)}::text[])
      as each (id, status, back, error)
    where r.rollout_id = ${row.id} and r.device_id = each.id`.execute(tx);
  const bad = news.filter(
    ({ status, back }) => back === null && (status === "failed" || status === "timed_out"),
  );
  if (bad.length === 0) return;
  // What a server says of its fault stays in the row: the journal is kept for good.
  const devices = bad.slice(0, 100).map(({ id, status }) => ({ device: id, status }));
  await tellOfRollout(tx, row, "devices_failed", { stage: row.stage, count: bad.length, devices });
}

interface Picked {
  device_id: string;
  server_id: string;
  version_before: number;
  version_given: number | null;
}

const PICKED = sql`
  select r.device_id, d.server_id, r.version_before, r.version_given
  from rollout_devices r join devices d on d.id = r.device_id`;

/** Their servers are told, and with that locked; then what the devices have is read (D). */
async function begin(tx: Tx, row: RolloutRow, picked: readonly Picked[]) {
  const servers = picked.map((one) => one.server_id);
  const wishes = await tellServers(tx, row.account_id, servers);
  const ids = picked.map((one) => one.device_id);
  const { rows } = await sql<PipelinesRow>`
    ${PIPELINES_ROWS} where d.id = any(${ids}::uuid[]) order by d.id for update of d`.execute(tx);
  return { wishes, rows, of: new Map(picked.map((one) => [one.device_id, one])) };
}

/** True: it changed something, and there may be more. */
async function give(tx: Tx, row: RolloutRow): Promise<boolean> {
  const { rows: picked } = await sql<Picked>`
    ${PICKED} where ${HERE(row)} and r.status = 'queued' and r.stage <= ${row.stage}
    order by r.position limit ${BATCH}`.execute(tx);
  if (picked.length === 0) return true;
  const { wishes, rows, of } = await begin(tx, row, picked);
  const models = await knownModels(tx, row.party_id, modelsNeeded(row.change, rows));
  for (const device of rows) {
    // Changed by hand since it was looked at: the next look finds that.
    if (device.pipelines_version !== of.get(device.id)!.version_before) continue;
    const { kept, issues } = applied(row.change, device, models);
    if (kept === null) {
      const error = issues[0]!.message.slice(0, 500);
      await keep(tx, row, [{ id: device.id, status: "failed", back: null, error }]);
      continue;
    }
    await save(tx, row, device, kept, `rollout ${row.id}`);
    await sql`
      update rollout_devices set status = 'changing', since = now(), wish = ${wishes.get(device.server_id)!},
        version_given = ${device.pipelines_version + 1}, changed_at = now()
      where rollout_id = ${row.id} and device_id = ${device.id}`.execute(tx);
  }
  return true;
}

/** Those that failed (C), and all when the rollout is taken back. True: there may be more. */
async function takeBack(tx: Tx, row: RolloutRow): Promise<boolean> {
  if (!row.rolls_back && row.status !== "rolling_back") return false;
  const which =
    row.status === "rolling_back"
      ? sql`r.status in ('changing', 'healthy', 'failed', 'timed_out')`
      : sql`r.status = 'failed'`;
  const { rows: picked } = await sql<Picked>`
    ${PICKED} where ${HERE(row)} and ${which} and r.back is null and r.version_given is not null
    order by r.position limit ${BATCH}`.execute(tx);
  if (picked.length === 0) return false;
  const { wishes, rows, of } = await begin(tx, row, picked);
  for (const device of rows) {
    const { version_before: version, version_given: given } = of.get(device.id)!;
    if (device.pipelines_version !== given) continue;
    const before = await revision(tx, device.id, version);
    if (before === null) {
      await sql`
        update rollout_devices set back = 'unanswered', since = now(), wish = null, error = 'what it ran before is gone'
        where rollout_id = ${row.id} and device_id = ${device.id}`.execute(tx);
      continue;
    }
    await save(tx, row, device, before, `rolled back to ${version} by rollout ${row.id}`); // E
    await sql`
      update rollout_devices set back = 'asked', since = now(), wish = ${wishes.get(device.server_id)!},
        version_back = ${device.pipelines_version + 1}
      where rollout_id = ${row.id} and device_id = ${device.id}`.execute(tx);
  }
  return true;
}

const save = (tx: Tx, row: RolloutRow, device: PipelinesRow, kept: KeptPipeline[], note: string) =>
  write(tx, device, kept, { account: row.account_id, by: `rollout:${row.id}`, note });

/** Null: a model of it is gone. Its owner withdrew it, and its time was over in the middle of this. */
async function revision(tx: Tx, device: string, version: number): Promise<KeptPipeline[] | null> {
  const { rows } = await sql<{ pipelines: KeptPipeline[] }>`
    select pipelines from pipeline_revisions where device_id = ${device} and version = ${version}`.execute(
    tx,
  );
  // Version 0 is what every device began with: nothing.
  const before = rows[0]?.pipelines ?? [];
  const models = [...new Set(modelsOf(before))];
  const { rows: there } = await sql`
    select id from functions where id = any(${models}::uuid[]) order by id for key share`.execute(tx);
  return there.length === models.length ? before : null;
}
