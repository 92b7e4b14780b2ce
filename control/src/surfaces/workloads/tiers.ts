// SPDX-License-Identifier: Apache-2.0
/** Sizes and their prices. A workload keeps the price it was made at. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { createTier, deleteTier, listTiers, updateTier } from "#contract/workloads/catalogue.ts";
import { MICROS_PER_USD, toMicros, toUnits } from "../../core/ledger/index.ts";
import { gatherFor } from "../../database/gather.ts";
import type { Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { requireSemver } from "./artifacts.ts";
import type { Deps, WorkloadsConfig } from "./deps.ts";

export interface TierRow {
  tier_id: string;
  name: string;
  cpus: number;
  gpus: number;
  memory_mb: number;
  disk_gb: number;
  cost_micros_per_min: number;
}

type Needs = Pick<Deps, "db" | "workloads">;

export async function list({ db, workloads }: Needs, _call: Call<typeof listTiers>): Promise<Answer> {
  const { rows } = await sql<TierRow>`
    select * from workload_tiers order by cost_micros_per_min, cpus, memory_mb, tier_id`.execute(db.soft);
  return { status: 200, body: rows.map((row) => view(row, workloads)) };
}

export async function create({ db, workloads }: Needs, call: Call<typeof createTier>): Promise<Answer> {
  const { name, cpus, gpus, memoryMb, diskGb, cost } = call.body;
  const { rows } = await sql<TierRow>`
    insert into workload_tiers (name, cpus, gpus, memory_mb, disk_gb, cost_micros_per_min)
    values (${name}, ${cpus}, ${gpus}, ${memoryMb}, ${diskGb}, ${microsOf(cost, workloads)}) returning *`
    .execute(db.run)
    .catch(asExists);
  return { status: 201, body: view(rows[0]!, workloads) };
}

export async function update({ db, workloads }: Needs, call: Call<typeof updateTier>): Promise<Answer> {
  const { tierId, name, cpus, gpus, memoryMb, diskGb, cost } = call.body;
  const { rows } = await sql<TierRow>`
    update workload_tiers set name = ${name}, cpus = ${cpus}, gpus = ${gpus}, memory_mb = ${memoryMb},
      disk_gb = ${diskGb}, cost_micros_per_min = ${microsOf(cost, workloads)}
    where tier_id = ${tierId}::uuid returning *`
    .execute(db.run)
    .catch(asExists);
  if (rows[0] === undefined) throw new Fault("tier.not-found");
  return { status: 200, body: view(rows[0], workloads) };
}

export async function remove({ db }: Needs, call: Call<typeof deleteTier>): Promise<Answer> {
  const { rows } =
    await sql`delete from workload_tiers where tier_id = ${call.body.tierId}::uuid returning tier_id`.execute(
      db.run,
    );
  if (rows.length === 0) throw new Fault("tier.not-found");
  return { status: 200, body: {} };
}

interface Size {
  cpus: number;
  memory: number;
  disk: number;
  gpus: number;
}

/** Everything that is offered. It is little, and can be asked for before anybody said what they want. */
export interface Catalogue {
  versions: string[];
  tiers: TierRow[];
}

export const catalogueAhead = ({ db }: Pick<Deps, "db">): Promise<Catalogue> => findAll(db.quick, null);

const findAll = gatherFor(async (db: Db, asks: null[]): Promise<Catalogue[]> => {
  // What has no value to fill in is planned anew each time (prepared.ts).
  const { rows } = await sql<Catalogue>`
    select array(select version from artifacts where enabled = ${true}) as versions,
      (select coalesce(jsonb_agg(t), '[]') from workload_tiers t) as tiers`.execute(db);
  return asks.map(() => rows[0]!);
});

/** Whether the artifact is offered, and the tier of exactly this size. */
export function offerOf(
  { versions, tiers }: Catalogue,
  version: string,
  { cpus, memory, disk, gpus }: Size,
): { known: boolean; tier: TierRow | null } {
  requireSemver(version);
  const tier = tiers.find(
    (one) => one.cpus === cpus && one.memory_mb === memory && one.disk_gb === disk && one.gpus === gpus,
  );
  return { known: versions.includes(version), tier: tier ?? null };
}

function microsOf(credits: number, { microsPerCredit }: WorkloadsConfig): number {
  const micros = toMicros(credits, microsPerCredit);
  if (micros === null)
    throw new Fault("request.invalid", { detail: "cost has more decimals than a micro-dollar" });
  return micros;
}

function asExists(error: unknown): never {
  if ((error as { code?: string }).code === "23505") throw new Fault("tier.exists");
  throw error;
}

const view = (row: TierRow, { microsPerCredit }: WorkloadsConfig) => ({
  tierId: row.tier_id,
  name: row.name,
  cpus: row.cpus,
  gpus: row.gpus,
  memoryMb: row.memory_mb,
  diskGb: row.disk_gb,
  cost: toUnits(row.cost_micros_per_min, microsPerCredit),
  usdCostPerMin: toUnits(row.cost_micros_per_min, MICROS_PER_USD),
});
