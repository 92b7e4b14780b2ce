// SPDX-License-Identifier: Apache-2.0
/**
 * Recording a new workload: room, money, machine, workload, events and journal, all or nothing. Creates
 * that come at once are recorded in one statement when nothing stands against it (insert-many.ts), which
 * takes the row of the host, that all of them want, once; each by itself otherwise, and then each is told
 * its own reason.
 */
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { MachineSpec } from "#contract/link/machine.ts";
import { takeRoomClauses } from "../../core/fleet/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { admitClauses, takeDiskClause } from "../../core/ledger/index.ts";
import { type MachineRow, requestKeptClause } from "../../core/machines/index.ts";
import { gatherFor } from "../../database/gather.ts";
import { type Database, type Db, refusalOf } from "../../database/open.ts";
import type { Deps } from "./deps.ts";
import { isTaken } from "./domain-checks.ts";
import { type Resolution, resolutionEvents, resolutionPayload } from "./images.ts";
import { insertMany } from "./insert-many.ts";
import type { Given } from "./payload.ts";
import type { TierRow } from "./tiers.ts";

export interface NewWorkload {
  id: string;
  machineId: string;
  account: string;
  name: string;
  artifactsVersion: string;
  given: Given;
  tier: TierRow;
  spec: MachineSpec;
  domain: string;
  custom: string | null;
  sealed: { payload: Buffer; compose: Buffer };
  resolved: readonly Resolution[];
  /** The key that asked. */
  by: string;
  /** What all of the account's may have of disks. */
  diskGbMax: number | null;
}

export interface Inserted {
  machine: MachineRow;
  created_at: Date;
  updated_at: Date;
}

/** Throws a fault when there is no room or no money, or the domain is taken. On disk when it resolves. */
export async function insertWorkload(
  { db, fleet }: Pick<Deps, "db" | "fleet">,
  workload: NewWorkload,
): Promise<Inserted> {
  const ask = { workload, hosts: fleet.able(workload.spec.isolation) };
  const outcome = isPlain(workload) ? await insertGathered(db, ask) : await tried(db, ask);
  if ("error" in outcome) throw asFault(outcome.error);
  return outcome.inserted;
}

/** What has more than the one event of its own takes its own statement. */
const isPlain = ({ custom, resolved }: NewWorkload) => custom === null && resolved.length === 0;

interface Ask {
  workload: NewWorkload;
  hosts: string[];
}

type Outcome = { inserted: Inserted } | { error: unknown };

const insertGathered = gatherFor(async (db: Database, asks: Ask[]): Promise<Outcome[]> => {
  const outcomes = new Map<Ask, Outcome>();
  for (const batch of batches(asks)) {
    const together = batch.length > 1 ? await insertMany(db.run, batch).catch(() => null) : null;
    const found =
      together?.map((inserted) => ({ inserted })) ?? (await Promise.all(batch.map((ask) => tried(db, ask))));
    for (const [at, ask] of batch.entries()) outcomes.set(ask, found[at]!);
  }
  return asks.map((ask) => outcomes.get(ask)!);
});

/** Each account once: its journal is a chain, of which one statement adds one link. All for the same hosts. */
function batches(asks: readonly Ask[]): Ask[][] {
  const made: { accounts: Set<string>; hosts: string; asks: Ask[] }[] = [];
  for (const ask of asks) {
    const { account } = ask.workload;
    const hosts = ask.hosts.join();
    let batch = made.find((one) => one.hosts === hosts && !one.accounts.has(account));
    if (batch === undefined) {
      batch = { accounts: new Set(), hosts, asks: [] };
      made.push(batch);
    }
    batch.accounts.add(account);
    batch.asks.push(ask);
  }
  return made.map((batch) => batch.asks);
}

async function tried(db: Database, ask: Ask): Promise<Outcome> {
  try {
    const inserted = await insertOne(db.soft, ask);
    // The host's row, which every create wants, is free while the disk is waited for.
    await db.settled();
    return { inserted };
  } catch (error) {
    return { error };
  }
}

async function insertOne(db: Db, { workload: w, hosts }: Ask): Promise<Inserted> {
  const { given, tier } = w;
  const rate = tier.cost_micros_per_min;
  const admission = { account: w.account, machine: w.machineId, rateMicrosPerMin: rate };
  const created = {
    account: w.account,
    type: "workload.created",
    subject: w.id,
    payload: { name: w.name, ...resolutionPayload(w.resolved, w.by) },
  };
  const { rows } = await sql<Inserted>`
    with ${takeRoomClauses(w.spec, hosts)},
    ${requestKeptClause({ id: w.machineId, account: w.account, surface: "workloads", spec: w.spec })},
    ${takeDiskClause({ account: w.account, diskGb: tier.disk_gb, maxGb: w.diskGbMax }, sql`exists (select from machine)`)},
    ${admitClauses(admission, sql`exists (select from disk)`)},
    workload as (
      insert into workloads (id, account_id, machine_id, name, artifacts_version, public_service, public_port,
        cpus, gpus, memory_mb, disk_gb, domain, payload_sealed, compose_sealed, env_names, file_names, registry_servers,
        cost_micros_per_min, custom_domain)
      select ${w.id}::uuid, ${w.account}, machine.id, ${w.name}, ${w.artifactsVersion}, ${given.publicService},
        ${given.publicPort}::int, ${tier.cpus}::int, ${tier.gpus}::int, ${tier.memory_mb}::int, ${tier.disk_gb}::int,
        ${w.domain}, ${w.sealed.payload}::bytea, ${w.sealed.compose}::bytea, ${Object.keys(given.envVars)}::text[], ${Object.keys(given.files)}::text[],
        ${given.dockerCredentials.map(({ server }) => server)}::text[], ${rate}::bigint, ${w.custom}
      from machine, disk returning id, created_at, updated_at
    ),
    event as (
      insert into workload_events (workload_id, kind, details)
      select id, 'created', '{}'::jsonb from workload
      union all ${resolutionEvents(sql`workload`, w.resolved, w.by)}
    ),
    ${appendClauses(created, sql`exists (select from workload) and (select count(*) from afford) >= 0`)}
    select case when not exists (select from room) then refuse('capacity') when not exists (select from disk) then refuse('disk') else (select count(*) = 1 from entry) end,
      (select to_jsonb(machine) from machine) as machine,
      (select created_at from workload) as created_at, (select updated_at from workload) as updated_at`.execute(
    db,
  );
  return rows[0]!;
}

export const DISK_LIMIT =
  "An account's workloads have a limit of disk together, stopped ones included: `limits.diskGb` of GET /api/v1/accounts/me. Delete one, or ask for more.";

/** What a statement that takes room and money says when it could not. */
export function asFault(error: unknown): unknown {
  const refused = refusalOf(error);
  if (refused === "capacity") return new Fault("fleet.no-capacity", {}, { retryAfterSeconds: 30 });
  if (refused === "disk") return new Fault("workload.limit", { detail: DISK_LIMIT });
  if (refused === "balance") return new Fault("ledger.not-enough");
  if (isTaken(error)) return new Fault("workload.domain-exists");
  return error;
}
