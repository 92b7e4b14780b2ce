// SPDX-License-Identifier: Apache-2.0
/** Creating a workload: judged, sealed, recorded (insert.ts), and its host told at once. */
import { Fault } from "#contract/errors.ts";
import type { createWorkload } from "#contract/workloads/workloads.ts";
import type { GuestImage } from "../../core/attestation/index.ts";
import { diskHeldGb, MICROS_PER_USD, toUnits } from "../../core/ledger/index.ts";
import { NEW } from "../../core/machines/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { seededId, seededUuid } from "../../http/idempotency.ts";
import { isSemver } from "./artifacts.ts";
import type { Deps } from "./deps.ts";
import { domainIssue, requireDomain } from "./domain.ts";
import { pinImages } from "./images.ts";
import { DISK_LIMIT, insertWorkload } from "./insert.ts";
import { chooseIsolation, isMeasured } from "./isolation.ts";
import { launchOf } from "./launch.ts";
import { type Measurement, measure } from "./measurement.ts";
import { checkGiven, type Given, requireFits, requirePlan, sealGiven } from "./payload.ts";
import { show } from "./read.ts";
import { requireWorkload, type WorkloadRow } from "./rows.ts";
import { requireSealable } from "./sealed-env.ts";
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
  const isolation = chooseIsolation(deps.fleet, {
    ...{ asked: body.isolation, least: account.isolation, standard: deps.workloads.isolation },
  });
  const image = isolation === "container" ? null : requireImage(deps, body.artifactsVersion);
  requireSealable(given.sealedEnv ?? [], given.envVars, isolation);

  // Before it is said whether somebody has it: that is not told to strangers.
  if (custom !== null) await requireDomain(deps.looks, { ...domainOf(deps, account.id), domain: custom });

  const machineId = seededId(call.seed, "mach");
  const domain = `${id}.${deps.workloads.zone}`;
  const domains = custom === null ? [domain] : [domain, custom];
  const spec = toMachineSpec({ workload: id, account: account.id, domains }, tier, isolation);
  const launch = image && launchOf(given, plan, { domain, custom, diskGb: tier.disk_gb });
  const rate = tier.cost_micros_per_min;
  const sealed = await sealGiven(deps.vault, id, given);
  const inserted = await insertWorkload(deps, {
    ...{ id, machineId, account: account.id, name: body.name, artifactsVersion: body.artifactsVersion },
    launch: image && launch && { image: image.sha256, launch: launch.sha256 },
    ...{ given, tier, spec, domain, custom, sealed, resolved, by: call.principal!.keyId },
    ...{ diskGbMax: deps.workloads.diskGbPerAccount, once: call.once },
  });
  const { host_id, created_at, updated_at } = inserted;
  deps.converger.send({ ...inserted, ...NEW, id: machineId, spec }, call.now);
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
    image_sha256: image?.sha256 ?? null,
    sealed_env_names: given.sealedEnv ?? [],
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
    ...(body.sealedEnv !== undefined && body.sealedEnv.length > 0 && { sealedEnv: body.sealedEnv }),
    ...{ publicService, publicPort },
  };
}

const domainOf = ({ workloads }: Pick<Deps, "workloads">, account: string) => ({
  ...{ account, zone: workloads.zone },
});

/** What is to be started, by its hash: a host may have another of that version, which control does not know. */
export function requireImage({ guestImages }: Pick<Deps, "guestImages">, version: string): GuestImage {
  const image = guestImages.ofVersion(version);
  if (image !== null) return image;
  const detail = `The guest image of ${version} is not built here yet: casemate images build containers`;
  throw new Fault("host.not-ready", { detail });
}

/** All that would be refused, and the price, without creating anything. */
async function dryRun(deps: Deps, call: Call<typeof createWorkload>, given: Given): Promise<Answer> {
  const { body } = call;
  const account = call.account.id;
  const issues: { path: string; message: string; line?: number }[] = [];
  let warnings: typeof issues = [];
  let expectedMeasurement: Measurement | null = null;
  const { known, tier } = isSemver(body.artifactsVersion)
    ? offerOf((await call.ahead) as Catalogue, body.artifactsVersion, body)
    : { known: false, tier: null };
  try {
    const verdict = await checkGiven(deps.judge, account, given);
    warnings = verdict.warnings;
    if (!verdict.ok) issues.push(...verdict.violations);
    else {
      const { pins } = await pinImages(deps, account, verdict.plan);
      if (tier !== null)
        expectedMeasurement = await measurementOf(deps, call, { ...given, pins }, verdict.plan);
    }
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    issues.push(...(error.issues ?? [{ path: "", message: error.message }]));
  }
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
      expectedMeasurement,
    },
  };
}

/** Of a name that is not given yet nothing can be said but the custom one; the dry run says the launch of that name. */
async function measurementOf(
  deps: Deps,
  call: Call<typeof createWorkload>,
  given: Given,
  plan: Parameters<typeof launchOf>[1],
): Promise<Measurement | null> {
  const { body, account } = call;
  const isolation = chooseIsolation(deps.fleet, {
    ...{ asked: body.isolation, least: account.isolation, standard: deps.workloads.isolation },
  });
  if (!isMeasured(isolation)) return null;
  const image = requireImage(deps, body.artifactsVersion);
  const domain = `${seededUuid(call.seed)}.${deps.workloads.zone}`;
  const launch = launchOf(given, plan, { domain, custom: body.domain ?? null, diskGb: body.disk });
  return measure(deps, image, launch, { isolation, cpus: body.cpus });
}
