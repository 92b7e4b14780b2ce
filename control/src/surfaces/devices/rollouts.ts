// SPDX-License-Identifier: Apache-2.0
/** Rollouts as their owner makes, watches and steers them; their course is in rollout-turn.ts. */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type * as contract from "#contract/devices/rollouts.ts";
import { ROLLOUT_STATUSES } from "#contract/devices/rollouts.ts";
import { Fault } from "#contract/errors.ts";
import { append } from "../../core/journal/index.ts";
import type { Tx } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { etagOf, requireVersion, shown } from "../../http/etag.ts";
import { paged, pageOf } from "../../http/paging.ts";
import { waitFor } from "../../http/wait-for.ts";
import type { DevicesDeps } from "./deps.ts";
import { modelsOf } from "./pipelines.ts";
import { abortOf, type Stage, stageOf, stagesOf } from "./rollout-change.ts";
import { type Plan, planOf } from "./rollout-plan.ts";
import {
  isOver,
  listRolloutDeviceRows,
  listRolloutRows,
  moveRollout,
  type RolloutStatus,
  requireRollout,
  viewRollout,
  viewRolloutDevice,
} from "./rollout-rows.ts";
import { versionOf } from "./view.ts";

type Needs = Pick<DevicesDeps, "db">;

/** Of one owner: each is looked at every second. */
const OPEN_MAX = 50;
const TIMEOUT_S = 600;

export async function create({ db }: Needs, call: Call<typeof contract.createRollout>): Promise<Answer> {
  const { party, id: by } = call.actor;
  const { body } = call;
  const id = randomUUID();
  const dry = call.query.dryRun === "1";
  const made = await db.write(async (tx) => {
    const plan = await planOf(tx, party.id, body);
    const stages = stagesOf(body.Stages, plan.takes.length);
    if (dry) return { plan, stages };
    const { rows } = await sql`
      insert into rollouts (id, party_id, name, change, stages, abort, rolls_back, timeout_s, created_by)
      select ${id}, ${party.id}, ${body.Name ?? "Rollout"}, ${JSON.stringify(plan.change)}::jsonb,
        ${JSON.stringify(stages)}::jsonb, ${JSON.stringify(abortOf(body.Abort))}::jsonb,
        ${body.Rollback ?? true}, ${body.TimeoutSeconds ?? body.Timeout ?? TIMEOUT_S}, ${by}
      where (select count(*) from rollouts where party_id = ${party.id} and ended_at is null) < ${OPEN_MAX}
      returning id`.execute(tx);
    if (rows.length === 0) throw new Fault("rollout.too-many", { limit: OPEN_MAX });
    await keepDevices(tx, id, plan, stages);
    await keepModels(tx, id, plan);
    const payload = { by, devices: plan.takes.length, stages: stages.length };
    await append(tx, { account: call.account.id, type: "rollout.created", subject: id, payload });
    return { plan, stages };
  });
  if (dry) return { status: 200, body: viewPlan(made) };
  const row = await requireRollout(db.run, party.id, id);
  const view = viewRollout(row);
  const etag = etagOf(versionOf(row), view);
  return { status: 201, body: view, headers: { location: `/dev/rollout/${id}`, etag } };
}

/** In the order of their ids, so that of two rollouts of the same devices one waits for the other and finds it there. */
async function keepDevices(tx: Tx, id: string, { takes, skipped }: Plan, stages: Stage[]): Promise<void> {
  const rows = [
    ...takes.map((row, at) => ({ row, at, stage: stageOf(stages, at), reason: null })),
    ...skipped.map(({ row, reason }, at) => ({ row, at: takes.length + at, stage: null, reason })),
  ];
  const { rows: kept } = await sql<{ device_id: string }>`
    insert into rollout_devices (rollout_id, device_id, name, position, stage, status, error, version_before, open)
    select ${id}, each.id, each.name, each.position, each.stage,
      case when each.stage is null then 'skipped' else 'queued' end, each.error, each.version, each.stage is not null
    from unnest(${rows.map(({ row }) => row.id)}::uuid[], ${rows.map(({ row }) => row.name)}::text[],
      ${rows.map(({ at }) => at)}::int[], ${rows.map(({ stage }) => stage)}::int[],
      ${rows.map(({ reason }) => reason)}::text[], ${rows.map(({ row }) => row.pipelines_version)}::int[])
      as each (id, name, position, stage, error, version)
    order by each.id
    on conflict (device_id) where open do nothing returning device_id`.execute(tx);
  if (kept.length === rows.length) return;
  const missing = rows.map(({ row }) => row.id).filter((one) => !kept.some((row) => row.device_id === one));
  const { rows: other } = await sql<{ rollout_id: string; device_id: string }>`
    select rollout_id, device_id from rollout_devices where device_id = any(${missing}::uuid[]) and open
    order by position limit 20`.execute(tx);
  const issues = other.map((row) => ({
    path: row.device_id,
    message: `is in the rollout ${row.rollout_id}`,
  }));
  throw new Fault(
    "rollout.overlaps",
    { count: missing.length, uuid: other[0]?.rollout_id ?? id, field: "Target" },
    { issues },
  );
}

async function keepModels(tx: Tx, id: string, { takes, change }: Plan): Promise<void> {
  const brought = "Pipelines" in change ? modelsOf(change.Pipelines) : [change.Function];
  const models = new Set([...brought, ...takes.flatMap((row) => modelsOf(row.pipelines))]);
  await sql`
    insert into rollout_models (rollout_id, function_id)
    select ${id}, id from functions where id = any(${[...models]}::uuid[]) order by id for key share`.execute(
    tx,
  );
}

const viewPlan = ({ plan, stages }: { plan: Plan; stages: Stage[] }) => ({
  Stages: stages.map(({ Upto, HoldSeconds }, at) => ({
    Devices: plan.takes.slice(stages[at - 1]?.Upto ?? 0, Upto).map((row) => row.id),
    HoldSeconds,
  })),
  Skipped: plan.skipped.map(({ row, reason }) => ({ Device: row.id, Reason: reason })),
});

const ORDERS = { CreatedAt: "created_at", UpdatedAt: "updated_at", Name: "name" };

export async function list({ db }: Needs, call: Call<typeof contract.listRollouts>): Promise<Answer> {
  const page = pageOf(call.query, ORDERS, "-CreatedAt", "id");
  const { rows, records } = await listRolloutRows(db.soft, call.actor.party.id, call.query.Status, page);
  return paged(rows.map(viewRollout), records);
}

export async function get(
  { db, feed }: Pick<DevicesDeps, "db" | "feed">,
  call: Call<typeof contract.getRollout>,
): Promise<Answer> {
  const row = await waitFor(call, {
    states: ROLLOUT_STATUSES,
    read: () => requireRollout(db.soft, call.actor.party.id, call.params.id),
    statusOf: ({ status }) => status,
    isOver: ({ status }) => isOver(status),
    more: ({ id }, timeoutMs, signal) => feed.wait(id, timeoutMs, signal),
  });
  return shown(call.headers, versionOf(row), viewRollout(row));
}

export async function listDevices(
  { db }: Needs,
  call: Call<typeof contract.listRolloutDevices>,
): Promise<Answer> {
  const { id } = await requireRollout(db.soft, call.actor.party.id, call.params.id);
  const page = pageOf(call.query, { Stage: "r.position", Since: "r.since" }, "Stage", "r.device_id");
  const { rows, records } = await listRolloutDeviceRows(db.soft, id, call.query.Status, page);
  return paged(rows.map(viewRolloutDevice), records);
}

type Action = (typeof contract.ROLLOUT_ACTIONS)[number];
/** From which states an action leads on, and which are what it asks for. */
const ACTIONS: Record<Action, { from: RolloutStatus[]; to: RolloutStatus; so: RolloutStatus[] }> = {
  pause: { from: ["running"], to: "paused", so: ["paused"] },
  resume: { from: ["paused"], to: "running", so: ["running"] },
  cancel: { from: ["running", "paused"], to: "cancelled", so: ["cancelled"] },
  rollback: { from: ["running", "paused"], to: "rolling_back", so: ["rolling_back", "rolled_back"] },
};

export async function act({ db }: Needs, call: Call<typeof contract.patchRollout>): Promise<Answer> {
  const { party, id: by } = call.actor;
  const { Action: action } = call.body;
  const { from, to, so } = ACTIONS[action];
  await db.write(async (tx) => {
    await sql`select from rollouts where id = ${call.params.id} and party_id = ${party.id} for update`.execute(
      tx,
    );
    const row = await requireRollout(tx, party.id, call.params.id);
    requireVersion(call.headers, versionOf(row));
    if (so.includes(row.status)) return;
    if (!from.includes(row.status))
      throw new Fault("rollout.over", { status: row.status, action, uuid: row.id });
    const reason = isOver(to) || to === "rolling_back" ? "asked for" : null;
    await moveRollout(tx, row, { status: to, reason, by });
  });
  const row = await requireRollout(db.run, party.id, call.params.id);
  const body = viewRollout(row);
  return { status: 200, body, headers: { etag: etagOf(versionOf(row), body) } };
}
