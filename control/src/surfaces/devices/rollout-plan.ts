// SPDX-License-Identifier: Apache-2.0
/** Which devices a rollout is for, what it brings them, and which of them cannot take it. */
import { sql } from "kysely";
import type { GivenPipeline } from "#contract/devices/pipelines.ts";
import type { createRollout } from "#contract/devices/rollouts.ts";
import { ROLLOUT_DEVICES_MAX } from "#contract/devices/rollouts.ts";
import { Fault } from "#contract/errors.ts";
import type { BodyOf } from "#contract/operation.ts";
import type { Db, Tx } from "../../database/open.ts";
import { checkPipelines, type Issue, type KeptPipeline, type KnownModel } from "./checks.ts";
import { knownModels, knownServer } from "./models.ts";
import { modelsOf, PIPELINES_ROWS, type PipelinesRow } from "./pipelines.ts";
import { changed, type RolloutChange, withVersions } from "./rollout-change.ts";

type Asked = BodyOf<typeof createRollout>;

export interface Plan {
  change: RolloutChange;
  /** In the order of the stages. */
  takes: PipelinesRow[];
  skipped: { row: PipelinesRow; reason: string }[];
}

export async function planOf(tx: Tx, party: string, asked: Asked): Promise<Plan> {
  const change = await changeOf(tx, party, asked);
  const rows = await targeted(tx, party, asked.Target);
  const models = await knownModels(tx, party, modelsNeeded(change, rows));
  const takes: PipelinesRow[] = [];
  const skipped: Plan["skipped"] = [];
  let first: Issue | null = null;
  for (const row of rows) {
    const { kept, issues } = applied(change, row, models);
    if (kept !== null) takes.push(row);
    else skipped.push({ row, reason: sentence(issues[0]!) });
    first ??= issues[0] ?? null;
  }
  if (takes.length === 0)
    throw new Fault("device.none-applicable", { detail: first === null ? "none is meant" : sentence(first) });
  return { change, takes, skipped };
}

const sentence = ({ path, message }: Issue): string => (path === "" ? message : `${path}: ${message}`);

export const modelsNeeded = (
  change: RolloutChange,
  rows: readonly Pick<PipelinesRow, "pipelines">[],
): string[] =>
  "Pipelines" in change
    ? modelsOf(change.Pipelines)
    : [change.Function, ...rows.flatMap(({ pipelines }) => modelsOf(pipelines))];

/** What the device would run; null: it cannot, and why. */
export function applied(
  change: RolloutChange,
  row: PipelinesRow,
  models: ReadonlyMap<string, KnownModel>,
): { kept: KeptPipeline[]; issues: [] } | { kept: null; issues: Issue[] } {
  const given = changed(change, row.pipelines);
  if (given === null) return { kept: null, issues: [{ path: "", message: "nothing it runs is replaced" }] };
  const server = knownServer(row.facts, row.runtime_wanted);
  const { kept, issues } = checkPipelines(given, { models, server });
  return issues.length > 0 ? { kept: null, issues } : { kept, issues: [] };
}

async function changeOf(db: Tx, party: string, asked: Asked): Promise<RolloutChange> {
  const { Function: model, Version, Alias, Replaces } = asked;
  const Pipelines = asked.Pipelines as GivenPipeline[] | undefined;
  const refuse = (field: string, detail: string): never => {
    throw new Fault("request.invalid", { detail, field });
  };
  if ((Pipelines === undefined) === (model === undefined))
    refuse("Pipelines", "either Pipelines or Function is given");
  if (Pipelines !== undefined) {
    for (const name of ["Version", "Alias", "Replaces"] as const)
      if (asked[name] !== undefined) refuse(name, `${name} goes with Function`);
    const models = await knownModels(db, party, modelsOf(Pipelines));
    return { Pipelines: Pipelines.map((one) => withVersions(one, models)) };
  }
  if (Version !== undefined && Alias !== undefined) refuse("Alias", "either Version or Alias is given");
  const id = model!.toLowerCase();
  const known = (await knownModels(db, party, [id])).get(id);
  if (known === undefined) throw new Fault("function.not-found", { uuid: id, field: "Function" });
  const version = Version ?? (Alias === undefined ? known.defaultVersion : await aliased(db, id, Alias));
  if (version === null) return refuse("Alias", `${known.name} has no alias of that name`);
  if (!known.versions.has(version))
    refuse("Version", `${known.name} has no version ${version} that conforms`);
  return { Replaces: (Replaces ?? id).toLowerCase(), Function: id, Version: version };
}

async function aliased(db: Db | Tx, model: string, alias: string): Promise<number | null> {
  const { rows } = await sql<{ number: number }>`
    select number from function_aliases where function_id = ${model} and name = ${alias}`.execute(db);
  return rows[0]?.number ?? null;
}

/** Those that were named first, as they were named; then by name. What is named and is not there is an error. */
async function targeted(tx: Tx, party: string, asked: Asked["Target"]): Promise<PipelinesRow[]> {
  const ids = (given: readonly string[] = []) => [...new Set(given.map((one) => one.toLowerCase()))];
  const [devices, groups, systems] = [ids(asked.Devices), ids(asked.Groups), ids(asked.Systems)];
  const named = devices.length + groups.length + systems.length > 0;
  if (!named && asked.Tags === undefined)
    throw new Fault("request.invalid", { detail: "Target names nothing", field: "Target" });
  await requireAll(tx, party, "devices", devices, "device.not-found");
  await requireAll(tx, party, "device_groups", groups, "group.not-found");
  await requireAll(tx, party, "sites", systems, "site.not-found");
  const places = sql`(d.id = any(${devices}::uuid[]) or d.site_id = any(${systems}::uuid[]) or exists (
    select from device_group_members m where m.device_id = d.id and m.group_id = any(${groups}::uuid[])))`;
  const { rows } = await sql<PipelinesRow>`
    ${PIPELINES_ROWS} where d.party_id = ${party} and ${named ? places : sql`true`}
      and ${asked.Tags === undefined ? sql`true` : sql`d.tags && ${asked.Tags}::text[]`}
    order by array_position(${devices}::uuid[], d.id) nulls last, d.name, d.id
    limit ${ROLLOUT_DEVICES_MAX + 1}`.execute(tx);
  if (rows.length > ROLLOUT_DEVICES_MAX)
    throw new Fault("rollout.too-large", { limit: ROLLOUT_DEVICES_MAX, field: "Target" });
  return rows;
}

async function requireAll(
  tx: Tx,
  party: string,
  table: "devices" | "device_groups" | "sites",
  ids: readonly string[],
  missing: "device.not-found" | "group.not-found" | "site.not-found",
): Promise<void> {
  const { rows } = await sql<{ id: string }>`
    select id from ${sql.table(table)} where party_id = ${party} and id = any(${ids}::uuid[])`.execute(tx);
  const found = new Set(rows.map(({ id }) => id));
  const absent = ids.find((id) => !found.has(id));
  if (absent !== undefined) throw new Fault(missing, { uuid: absent, field: "Target" });
}
