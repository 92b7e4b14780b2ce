// SPDX-License-Identifier: Apache-2.0
/** Creating a workload: room, money, machine, workload, event and journal in one statement, then the host at once. */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { createWorkload } from "#contract/workloads/workloads.ts";
import { takeRoomClauses } from "../../core/fleet/index.ts";
import { makeId } from "../../core/identity/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { admitClauses, MICROS_PER_USD, toUnits } from "../../core/ledger/index.ts";
import { type MachineRow, requestKeptClause } from "../../core/machines/index.ts";
import { refusalOf } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { Deps } from "./deps.ts";
import { domainIssue, requireDomain } from "./domain.ts";
import { isTaken } from "./domain-checks.ts";
import { pinImages, resolutionEvents, resolutionPayload } from "./images.ts";
import { checkGiven, type Given, requireFits, requirePlan, sealGiven } from "./payload.ts";
import type { WorkloadRow } from "./rows.ts";
import { toMachineSpec } from "./spec.ts";
import { findOffer } from "./tiers.ts";
import { viewWorkload } from "./view.ts";

export async function create(deps: Deps, call: Call<typeof createWorkload>): Promise<Answer> {
  const { account, body } = call;
  const given = givenOf(body);
  if (call.query.dryRun === "1") return dryRun(deps, account.id, body, given);
  const { known, tier } = await findOffer(deps.db, body.artifactsVersion, body);
  if (!known) throw new Fault("artifact.not-found");
  if (tier === null) {
    const { cpus, memory, disk, gpus } = body;
    throw new Fault("workload.tier", { cpus, memory, disk, gpus });
  }
  const { plan, warnings } = await requirePlan(deps.judge, account.id, given);
  const { pins, resolved } = await pinImages(deps, account.id, plan);
  given.pins = pins;
  requireFits(given, plan);
  // Containers are given no gpu by any driver here.
  if (tier.gpus > 0) throw new Fault("fleet.no-capacity");

  const custom = body.domain ?? null;
  // Before it is said whether somebody has it: that is not told to strangers.
  if (custom !== null) await requireDomain(deps.looks, { ...domainOf(deps, account.id), domain: custom });

  const missing = deps.fleet.missing("container");
  if (missing !== null) throw new Fault("host.not-ready", { detail: missing });

  const id = randomUUID();
  const machineId = makeId("mach");
  const domain = `${id}.${deps.workloads.zone}`;
  const domains = custom === null ? [domain] : [domain, custom];
  const spec = toMachineSpec({ workload: id, account: account.id, domains }, tier);
  const rate = tier.cost_micros_per_min;
  const sealed = await sealGiven(deps.vault, id, given);
  const by = call.principal!.keyId;
  const admission = { account: account.id, machine: machineId, rateMicrosPerMin: rate };
  const created = {
    account: account.id,
    type: "workload.created",
    subject: id,
    payload: { name: body.name, ...resolutionPayload(resolved, by) },
  };
  const { rows } = await sql<{ machine: MachineRow; created_at: Date; updated_at: Date }>`
    with ${takeRoomClauses(spec, deps.fleet.able(spec.isolation))},
    ${requestKeptClause({ id: machineId, account: account.id, surface: "workloads", spec })},
    ${admitClauses(admission, sql`exists (select from machine)`)},
    workload as (
      insert into workloads (id, account_id, machine_id, name, artifacts_version, public_service, public_port,
        cpus, gpus, memory_mb, disk_gb, domain, payload_sealed, compose_sealed, env_names, file_names, registry_servers,
        cost_micros_per_min, custom_domain)
      select ${id}::uuid, ${account.id}, machine.id, ${body.name}, ${body.artifactsVersion}, ${given.publicService},
        ${given.publicPort}::int, ${tier.cpus}::int, ${tier.gpus}::int, ${tier.memory_mb}::int, ${tier.disk_gb}::int,
        ${domain}, ${sealed.payload}::bytea, ${sealed.compose}::bytea, ${Object.keys(given.envVars)}::text[], ${Object.keys(given.files)}::text[],
        ${given.dockerCredentials.map(({ server }) => server)}::text[], ${rate}::bigint, ${custom}
      from machine returning id, created_at, updated_at
    ),
    event as (
      insert into workload_events (workload_id, kind, details)
      select id, 'created', '{}'::jsonb from workload
      union all ${resolutionEvents(sql`workload`, resolved, by)}
    ),
    ${appendClauses(created, sql`exists (select from workload) and (select count(*) from afford) >= 0`)}
    select case when not exists (select from room) then refuse('capacity') else (select count(*) = 1 from entry) end,
      (select to_jsonb(machine) from machine) as machine,
      (select created_at from workload) as created_at, (select updated_at from workload) as updated_at`
    .execute(deps.db.soft)
    .catch((error: unknown) => {
      throw asFault(error);
    });
  // The host's row, which every create wants, is free while the disk is waited for.
  await deps.db.settled();
  const { machine, created_at, updated_at } = rows[0]!;
  deps.converger.send(machine, call.now);
  const facts = deps.fleet.facts().find(({ hostId }) => hostId === machine.host_id);
  const row: WorkloadRow = {
    ...{ id, account_id: account.id, machine_id: machineId, name: body.name, domain, created_at, updated_at },
    ...{ artifacts_version: body.artifactsVersion, status: "scheduled", cost_micros_per_min: rate },
    ...{ custom_domain: custom, custom_routed: true },
    ...{ public_service: given.publicService, public_port: given.publicPort, compose_sealed: sealed.compose },
    ...{ cpus: tier.cpus, gpus: tier.gpus, memory_mb: tier.memory_mb, disk_gb: tier.disk_gb },
    env_names: Object.keys(given.envVars),
    file_names: Object.keys(given.files),
    registry_servers: given.dockerCredentials.map(({ server }) => server),
    ...{ host_id: machine.host_id, isolation: spec.isolation, ingress: facts?.ingress ?? null },
  };
  const shown = viewWorkload(row, given.dockerCompose, deps.workloads);
  return { status: 201, body: warnings.length === 0 ? shown : { ...shown, warnings } };
}

/** What a statement that takes room and money says when it could not. */
export function asFault(error: unknown): unknown {
  const refused = refusalOf(error);
  if (refused === "capacity") return new Fault("fleet.no-capacity", {}, { retryAfterSeconds: 30 });
  if (refused === "balance") return new Fault("ledger.not-enough");
  if (isTaken(error)) return new Fault("workload.domain-exists");
  return error;
}

type Body = Call<typeof createWorkload>["body"];

function givenOf(body: Body): Given {
  const publicService = body.publicContainerName ?? body.serviceToExpose;
  const publicPort = body.publicContainerPort ?? body.servicePortToExpose;
  if (publicService === undefined || publicPort === undefined)
    throw new Fault("request.invalid", {
      detail: "publicContainerName and publicContainerPort say where requests go",
    });
  return {
    dockerCompose: body.dockerCompose,
    envVars: body.envVars ?? {},
    files: body.files ?? {},
    dockerCredentials: body.dockerCredentials ?? [],
    ...{ publicService, publicPort },
  };
}

const domainOf = ({ workloads }: Pick<Deps, "workloads">, account: string) => ({
  ...{ account, zone: workloads.zone },
});

/** All that would be refused, and the price, without creating anything. */
async function dryRun(deps: Deps, account: string, body: Body, given: Given): Promise<Answer> {
  const issues: { path: string; message: string; line?: number }[] = [];
  let warnings: typeof issues = [];
  try {
    const verdict = await checkGiven(deps.judge, account, given);
    warnings = verdict.warnings;
    if (!verdict.ok) issues.push(...verdict.violations);
    else await pinImages(deps, account, verdict.plan);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    issues.push(...(error.issues ?? [{ path: "", message: error.message }]));
  }
  const { known, tier } = await findOffer(deps.db, body.artifactsVersion, body).catch((error) => {
    if (!(error instanceof Fault)) throw error;
    return { known: false, tier: null };
  });
  if (tier === null) issues.push({ path: "cpus", message: "No tier has this size." });
  const { domain } = body;
  const wrong =
    domain === undefined ? null : await domainIssue(deps.looks, { ...domainOf(deps, account), domain });
  if (wrong !== null) issues.push({ path: "domain", message: wrong });
  if (!known) issues.push({ path: "artifactsVersion", message: new Fault("artifact.not-found").message });
  const rate = tier?.cost_micros_per_min;
  return {
    status: 200,
    body: {
      valid: issues.length === 0,
      ...{ issues, warnings },
      creditRate: rate === undefined ? null : toUnits(rate, deps.workloads.microsPerCredit),
      usdCostPerMin: rate === undefined ? null : toUnits(rate, MICROS_PER_USD),
      expectedMeasurement: null,
    },
  };
}
