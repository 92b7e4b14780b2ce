// SPDX-License-Identifier: Apache-2.0
/**
 * Recording a new workload: room, money, machine, workload, events and journal, all or nothing. Creates
 * that come at once are recorded in one statement when nothing stands against it (insert-many.ts), which
 * takes the row of the host, that all of them want, once; each by itself otherwise, and then each is told
 * its own reason.
 */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { MachineSpec } from "#contract/link/machine.ts";
import { takeRoomClauses } from "../../core/fleet/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { admitClauses, takeDiskClause } from "../../core/ledger/index.ts";
import { type MachineWish, requestKeptClause } from "../../core/machines/index.ts";
import { gatherFor } from "../../database/gather.ts";
import { type Db, refusalOf } from "../../database/open.ts";
import { EVERY_TIME } from "../../http/idempotency.ts";
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
  /** Of a machine that attests itself: its owner's asking for it is the approval. */
  launch: { image: string; launch: string } | null;
  resolved: readonly Resolution[];
  /** The key that asked. */
  by: string;
  /** What all of the account's may have of disks. */
  diskGbMax: number | null;
  /** Call.once: a repeat of a request whose process died creates nothing again. */
  once: RawBuilder<unknown>;
}

/** What the database says of it that was not asked for. */
export type Inserted = Pick<MachineWish, "host_id" | "want" | "generation" | "incarnation"> & {
  created_at: Date;
  updated_at: Date;
};

/** Throws a fault when there is no room or no money, or the domain is taken. On disk when it resolves. */
export async function insertWorkload(
  { db, fleet }: Pick<Deps, "db" | "fleet">,
  workload: NewWorkload,
): Promise<Inserted> {
  const ask = { workload, hosts: fleet.able(workload.spec.isolation) };
  const outcome = isPlain(workload) ? await insertGathered(db.soft, ask) : await tried(db.soft, ask);
  if ("error" in outcome) throw asFault(outcome.error);
  // The host's row, which every create wants, is free while the disk is waited for, and the next are recorded.
  await db.settled();
  return outcome.inserted;
}

/** What has more than the one event of its own, or must not happen twice, takes its own statement. */
const isPlain = ({ custom, resolved, once, launch }: NewWorkload) =>
  launch === null && custom === null && resolved.length === 0 && once === EVERY_TIME;

interface Ask {
  workload: NewWorkload;
  hosts: string[];
}

type Outcome = { inserted: Inserted } | { error: unknown };

const insertGathered: (db: Db, ask: Ask) => Promise<Outcome> = gatherFor((db: Db, asks: Ask[]) => {
  const batch = togetherOf(asks);
  // The others are asked again at once, so they are first in the next statement.
  const later = new Map(asks.filter((ask) => !batch.has(ask)).map((ask) => [ask, insertGathered(db, ask)]));
  return insertAll(db, [...batch]).then((outcomes) => {
    const now = new Map([...batch].map((ask, at) => [ask, outcomes[at]!]));
    return asks.map((ask) => now.get(ask) ?? later.get(ask)!);
  });
});

/** Each account once: its journal is a chain, of which one statement adds one link. All for the same hosts. */
function togetherOf(asks: readonly Ask[]): ReadonlySet<Ask> {
  const hosts = asks[0]!.hosts.join();
  const accounts = new Set<string>();
  return new Set(
    asks.filter((ask) => {
      const fits = ask.hosts.join() === hosts && !accounts.has(ask.workload.account);
      if (fits) accounts.add(ask.workload.account);
      return fits;
    }),
  );
}

async function insertAll(db: Db, asks: Ask[]): Promise<Outcome[]> {
  const inserted = asks.length > 1 ? await insertMany(db, asks).catch(() => null) : null;
  if (inserted !== null) return asks.map(() => ({ inserted }));
  return Promise.all(asks.map((ask) => tried(db, ask)));
}

async function tried(db: Db, ask: Ask): Promise<Outcome> {
  try {
    return { inserted: await insertOne(db, ask) };
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
    with ${w.once}, ${takeRoomClauses(w.spec, hosts, sql`exists (select from once)`)},
    ${requestKeptClause({ id: w.machineId, account: w.account, surface: "workloads", spec: w.spec })},
    ${takeDiskClause({ account: w.account, diskGb: tier.disk_gb, maxGb: w.diskGbMax }, sql`exists (select from machine)`)},
    ${admitClauses(admission, sql`exists (select from disk)`)},
    workload as (
      insert into workloads (id, account_id, machine_id, name, artifacts_version, public_service, public_port,
        cpus, gpus, memory_mb, disk_gb, domain, payload_sealed, compose_sealed, env_names, file_names, registry_servers,
        cost_micros_per_min, custom_domain, image_sha256, sealed_env_names)
      select ${w.id}::uuid, ${w.account}, machine.id, ${w.name}, ${w.artifactsVersion}, ${given.publicService},
        ${given.publicPort}::int, ${tier.cpus}::int, ${tier.gpus}::int, ${tier.memory_mb}::int, ${tier.disk_gb}::int,
        ${w.domain}, ${w.sealed.payload}::bytea, ${w.sealed.compose}::bytea, ${Object.keys(given.envVars)}::text[], ${Object.keys(given.files)}::text[],
        ${given.dockerCredentials.map(({ server }) => server)}::text[], ${rate}::bigint, ${w.custom}, ${w.launch?.image ?? null}::text, ${given.sealedEnv ?? []}::text[]
      from machine, disk returning id, created_at, updated_at
    ),
    launch as (
      insert into workload_launches (workload_id, image_sha256, launch_sha256, approved_at, approved_by)
      select id, ${w.launch?.image ?? null}::text, ${w.launch?.launch ?? null}::text, now(), ${w.by} from workload
      where ${w.launch !== null}
    ),
    event as (
      insert into workload_events (workload_id, kind, details)
      select id, 'created', '{}'::jsonb from workload
      union all ${resolutionEvents(sql`workload`, w.resolved, w.by)}
    ),
    ${appendClauses(created, sql`exists (select from workload) and (select count(*) from afford) >= 0`)}
    select case when not exists (select from once) then refuse('again') when not exists (select from room) then refuse('capacity') when not exists (select from disk) then refuse('disk') else (select count(*) = 1 from entry) end,
      made.*, workload.created_at, workload.updated_at
    from (select) as one left join (select host_id, want, generation, incarnation from machine) as made on true left join workload on true`.execute(
    db,
  );
  return rows[0]!;
}

export const DISK_LIMIT =
  "An account's workloads have a limit of disk together, stopped ones included: `limits.diskGb` of GET /api/v1/accounts/me. Delete one, or ask for more.";

/** What a statement that takes room and money says when it could not. */
export function asFault(error: unknown): unknown {
  const refused = refusalOf(error);
  // Our claim was held too long, and somebody else has it by now.
  if (refused === "again") return new Fault("idempotency.in-flight", {}, { retryAfterSeconds: 1 });
  if (refused === "capacity") return new Fault("fleet.no-capacity", {}, { retryAfterSeconds: 30 });
  if (refused === "disk") return new Fault("workload.limit", { detail: DISK_LIMIT });
  if (refused === "balance") return new Fault("ledger.not-enough");
  if (isTaken(error)) return new Fault("workload.domain-exists");
  return error;
}
