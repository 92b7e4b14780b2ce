// SPDX-License-Identifier: Apache-2.0
/** Sizes and their prices. A workload keeps the price it was made at. */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { createTier, deleteTier, listTiers, updateTier } from "#contract/workloads/catalogue.ts";
import { MICROS_PER_USD, toMicros, toUnits } from "../../core/ledger/index.ts";
import { gatherFor } from "../../database/gather.ts";
import type { Database, Db } from "../../database/open.ts";
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

interface Offer {
  known: boolean;
  tier: TierRow | null;
}

/** Whether the artifact is offered, and the tier of exactly this size, in one question. */
export async function findOffer(db: Database, version: string, size: Size): Promise<Offer> {
  requireSemver(version);
  return find(db.quick, { version, ...size });
}

const find = gatherFor(async (db: Db, asks: (Size & { version: string })[]): Promise<Offer[]> => {
  const each = <K extends keyof (typeof asks)[0]>(member: K) => asks.map((ask) => ask[member]);
  const { rows } = await sql<Offer>`
    select exists (select from artifacts a where a.version = ask.version and enabled) as known,
      (select to_jsonb(t) from workload_tiers t where t.cpus = ask.cpus and memory_mb = memory
        and disk_gb = disk and t.gpus = ask.gpus) as tier
    from unnest(${each("version")}::text[], ${each("cpus")}::int[], ${each("memory")}::int[], ${each("disk")}::int[],
      ${each("gpus")}::int[]) with ordinality as ask (version, cpus, memory, disk, gpus, place)
    order by place`.execute(db);
  return rows;
});

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
