// SPDX-License-Identifier: Apache-2.0
/** Workloads in the database. Another account's workload is indistinguishable from a missing one. */
import { CompiledQuery, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { HostFacts } from "#contract/link/machine.ts";
import { gatherFor } from "../../database/gather.ts";
import type { Db } from "../../database/open.ts";

export interface WorkloadRow {
  id: string;
  account_id: string;
  machine_id: string;
  name: string;
  artifacts_version: string;
  public_service: string;
  public_port: number;
  cpus: number;
  gpus: number;
  memory_mb: number;
  disk_gb: number;
  /** Below the zone of workloads, always. */
  domain: string;
  /** Its owner's own, if there is one. */
  custom_domain: string | null;
  custom_routed: boolean;
  compose_sealed: Buffer;
  env_names: string[];
  file_names: string[];
  registry_servers: string[];
  cost_micros_per_min: number;
  status: string;
  created_at: Date;
  updated_at: Date;
  host_id: string | null;
  isolation: string;
  /** What its machine is started from; null: containers. */
  image_sha256: string | null;
  sealed_env_names: string[];
  ingress: HostFacts["ingress"] | null;
}

export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

const COLUMNS = `
  w.id, w.account_id, w.machine_id, w.name, w.artifacts_version, w.public_service, w.public_port,
  w.cpus, w.gpus, w.memory_mb, w.disk_gb, w.domain, w.custom_domain, w.custom_routed, w.compose_sealed, w.env_names, w.file_names,
  w.registry_servers, w.cost_micros_per_min, w.status, w.created_at, w.updated_at, w.image_sha256, w.sealed_env_names, m.host_id, m.spec->>'isolation' as isolation, h.facts->'ingress' as ingress
  from workloads w join machines m on m.id = w.machine_id left join hosts h on h.id = m.host_id`;

export async function requireWorkload(db: Db, account: string, id: string): Promise<WorkloadRow> {
  return ownWorkload(await findWorkload(db, id), account);
}

/** Whosever it is; for nobody's eyes before `ownWorkload`. */
export const findWorkload = async (db: Db, id: unknown): Promise<WorkloadRow | null> =>
  typeof id === "string" && UUID.test(id) ? find(db, id.toLowerCase()) : null;

export function ownWorkload(row: WorkloadRow | null, account: string): WorkloadRow {
  if (row === null || row.account_id !== account) throw new Fault("workload.not-found");
  return row;
}

const FIND = `select ${COLUMNS} where w.id = any($1::uuid[]) and w.deleted_at is null`;

/** Many clients that look at once are one question. A row may be given to several: nobody changes it. */
const find = gatherFor(async (db: Db, ids: string[]): Promise<(WorkloadRow | null)[]> => {
  const { rows } = await db.executeQuery<WorkloadRow>(CompiledQuery.raw(FIND, [[...new Set(ids)]]));
  const found = new Map(rows.map((row) => [row.id, row]));
  return ids.map((id) => found.get(id) ?? null);
});

export interface Page {
  account: string;
  status: string | null;
  after: { createdAt: string; id: string } | null;
  limit: number;
}

/** Oldest first, so that what is new comes at the end and a cursor stays where it was. */
export async function listWorkloadRows(db: Db, page: Page): Promise<WorkloadRow[]> {
  const { rows } = await sql<WorkloadRow>`
    select ${sql.raw(COLUMNS)}
    where w.account_id = ${page.account} and w.deleted_at is null
      and (${page.status}::text is null or w.status = ${page.status})
      and (${page.after?.id ?? null}::uuid is null
           or (w.created_at, w.id) > (${page.after?.createdAt ?? null}::timestamptz, ${page.after?.id ?? null}::uuid))
    order by w.created_at, w.id limit ${page.limit}`.execute(db);
  return rows;
}
