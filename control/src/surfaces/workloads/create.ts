// SPDX-License-Identifier: Apache-2.0
/** Creating a workload: judged, sealed, recorded (insert.ts), and its host told at once. */
import { Fault } from "#contract/errors.ts";
import type { createWorkload } from "#contract/workloads/workloads.ts";
import { diskHeldGb, MICROS_PER_USD, toUnits } from "../../core/ledger/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { seededId, seededUuid } from "../../http/idempotency.ts";
import { isSemver } from "./artifacts.ts";
import type { Deps } from "./deps.ts";
import { domainIssue, requireDomain } from "./domain.ts";
import { pinImages } from "./images.ts";
import { DISK_LIMIT, insertWorkload } from "./insert.ts";
import { checkGiven, type Given, requireFits, requirePlan, sealGiven } from "./payload.ts";
import { show } from "./read.ts";
import { requireWorkload, type WorkloadRow } from "./rows.ts";
import { toMachineSpec } from "./spec.ts";
import { type Catalogue, offerOf } from "./tiers.ts";
import { viewWorkload } from "./view.ts";

export async function create(deps: Deps, call: Call<typeof createWorkload>): Promise<Answer> {
  const { account, body } = call;
  const given = givenOf(body);
  if (call.query.dryRun === "1") return dryRun(deps, call, given);
  const id = seededUuid(call.seed);
  if (call.inEffect)
    return { status: 201, body: await show(deps, await requireWorkload(deps.db.run, account.id, id)) };
  const { known, tier } = offerOf((await call.ahead) as Catalogue, body.artifactsVersion, body);
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

  const machineId = seededId(call.seed, "mach");
  const domain = `${id}.${deps.workloads.zone}`;
  const domains = custom === null ? [domain] : [domain, custom];
  const spec = toMachineSpec({ workload: id, account: account.id, domains }, tier);
  const rate = tier.cost_micros_per_min;
  const sealed = await sealGiven(deps.vault, id, given);
  const inserted = await insertWorkload(deps, {
    ...{ id, machineId, account: account.id, name: body.name, artifactsVersion: body.artifactsVersion },
    ...{ given, tier, spec, domain, custom, sealed, resolved, by: call.principal!.keyId },
    ...{ diskGbMax: deps.workloads.diskGbPerAccount, once: call.once },
  });
  const { host_id, created_at, updated_at } = inserted;
  deps.converger.send({ ...inserted, id: machineId, spec, expires_at: null, end_trigger: null }, call.now);
  const facts = deps.fleet.facts().find(({ hostId }) => hostId === host_id);
  const row: WorkloadRow = {
    ...{ id, account_id: account.id, machine_id: machineId, name: body.name, domain, created_at, updated_at },
    ...{ artifacts_version: body.artifactsVersion, status: "scheduled", cost_micros_per_min: rate },
    ...{ custom_domain: custom, custom_routed: true },
    ...{ public_service: given.publicService, public_port: given.publicPort, compose_sealed: sealed.compose },
    ...{ cpus: tier.cpus, gpus: tier.gpus, memory_mb: tier.memory_mb, disk_gb: tier.disk_gb },
    env_names: Object.keys(given.envVars),
    file_names: Object.keys(given.files),
    registry_servers: given.dockerCredentials.map(({ server }) => server),
    ...{ host_id, isolation: spec.isolation, ingress: facts?.ingress ?? null },
  };
  const shown = viewWorkload(row, given.dockerCompose, deps.workloads);
  return { status: 201, body: warnings.length === 0 ? shown : { ...shown, warnings } };
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
async function dryRun(deps: Deps, call: Call<typeof createWorkload>, given: Given): Promise<Answer> {
  const { body } = call;
  const account = call.account.id;
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
  const { known, tier } = isSemver(body.artifactsVersion)
    ? offerOf((await call.ahead) as Catalogue, body.artifactsVersion, body)
    : { known: false, tier: null };
  const diskMaxGb = deps.workloads.diskGbPerAccount;
  if (
    tier !== null &&
    diskMaxGb !== null &&
    (await diskHeldGb(deps.db.soft, account)) + tier.disk_gb > diskMaxGb
  )
    issues.push({ path: "disk", message: DISK_LIMIT });
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
