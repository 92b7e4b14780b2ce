// SPDX-License-Identifier: Apache-2.0
/**
 * Several new workloads in one statement, each of another account: what a create costs the database is
 * mostly the statement around its rows, and waiting for the host's row. It takes all of them or none. No
 * host with room for all, an account that cannot pay, anything else: it throws, nothing of it stands, and
 * the caller tries each by itself.
 */
import { sql } from "kysely";
import { diskMiBOf } from "#contract/link/machine.ts";
import { takeRoomClauses } from "../../core/fleet/index.ts";
import { appendEachClauses, saltPayload } from "../../core/journal/index.ts";
import { admitEachClauses, takeEachDiskClause } from "../../core/ledger/index.ts";
import type { Db } from "../../database/open.ts";
import type { Inserted, NewWorkload } from "./insert.ts";

export interface InsertAsk {
  workload: NewWorkload;
  hosts: string[];
}

/** They are all on one host, since one moment, and new: one row tells it of each. */
export async function insertMany(db: Db, asks: readonly InsertAsk[]): Promise<Inserted> {
  const all = asks.map(({ workload }) => workload);
  const of = <T>(value: (workload: NewWorkload) => T): T[] => all.map(value);
  const total = (value: (workload: NewWorkload) => number) => all.reduce((sum, one) => sum + value(one), 0);
  const size = {
    cpuMillis: total(({ spec }) => spec.cpuMillis),
    memoryMiB: total(({ spec }) => spec.memoryMiB),
    kept: { ...all[0]!.spec.kept!, diskMiB: total(({ spec }) => diskMiBOf(spec)), scratchMiB: 0 },
  };
  const entries = all.map(({ name }) => saltPayload({ name }));
  const names = of(({ given }) =>
    JSON.stringify({
      env: Object.keys(given.envVars),
      files: Object.keys(given.files),
      servers: given.dockerCredentials.map(({ server }) => server),
    }),
  );
  const list = (member: string) => sql`array(select jsonb_array_elements_text(names->${member}))`;
  const { rows } = await sql<Inserted>`
    with item as materialized (
      select *, id::text as subject from unnest(
        ${of(({ id }) => id)}::uuid[], ${of(({ machineId }) => machineId)}::text[], ${of(({ account }) => account)}::text[],
        ${of(({ name }) => name)}::text[], ${of(({ artifactsVersion }) => artifactsVersion)}::text[],
        ${of(({ given }) => given.publicService)}::text[], ${of(({ given }) => given.publicPort)}::int[],
        ${of(({ tier }) => tier.cpus)}::int[], ${of(({ tier }) => tier.gpus)}::int[], ${of(({ tier }) => tier.memory_mb)}::int[],
        ${of(({ tier }) => tier.disk_gb)}::int[], ${of(({ tier }) => tier.cost_micros_per_min)}::bigint[],
        ${of(({ domain }) => domain)}::text[], ${of(({ sealed }) => sealed.payload)}::bytea[], ${of(({ sealed }) => sealed.compose)}::bytea[],
        ${names}::jsonb[], ${of(({ spec }) => JSON.stringify(spec))}::jsonb[],
        ${entries.map(({ text }) => text)}::text[], ${entries.map(({ salt }) => salt)}::bytea[], ${entries.map(({ payloadHash }) => payloadHash)}::bytea[]
      ) as item (id, machine_id, account_id, name, version, service, port, cpus, gpus, memory_mb, disk_gb, rate,
        domain, payload, compose, names, spec, entry_text, entry_salt, entry_hash)
    ),
    ${takeRoomClauses(size, asks[0]!.hosts)},
    machine as (
      insert into machines (id, account_id, host_id, surface, spec, created_at, holds_compute, holds_disk)
      select machine_id, account_id, room.id, 'workloads', spec, now(), true, true from item, room
      returning host_id, want, generation, incarnation
    ),
    ${takeEachDiskClause(all[0]!.diskGbMax, sql`exists (select from machine)`)},
    ${admitEachClauses(sql`(select count(*) from disk) = ${all.length}::int`)},
    workload as (
      insert into workloads (id, account_id, machine_id, name, artifacts_version, public_service, public_port,
        cpus, gpus, memory_mb, disk_gb, domain, payload_sealed, compose_sealed, env_names, file_names, registry_servers,
        cost_micros_per_min)
      select item.id, item.account_id, machine_id, name, version, service, port, cpus, gpus, memory_mb, disk_gb, domain,
        payload, compose, ${list("env")}, ${list("files")}, ${list("servers")}, rate
      from item, room returning id, created_at, updated_at
    ),
    event as (insert into workload_events (workload_id, kind) select id, 'created' from workload),
    ${appendEachClauses("workload.created", sql`(select count(*) from afford) = ${all.length}::int and exists (select from workload)`)}
    select case when (select count(*) from entry) <> ${all.length}::int then refuse('apart') end, machine.*, created_at, updated_at
    from (select * from machine limit 1) as machine, (select created_at, updated_at from workload limit 1) as workload`.execute(
    db,
  );
  if (rows.length !== 1) throw new Error("no host has room for all of them");
  return rows[0]!;
}
