// SPDX-License-Identifier: Apache-2.0
/**
 * Start, stop, restart, delete: each records a wish in one statement and sends it. Repeating one that
 * is fulfilled changes nothing and is answered the same.
 */
import { createHash } from "node:crypto";
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type {
  deleteWorkload,
  restartWorkload,
  startWorkload,
  stopWorkload,
  updateWorkload,
} from "#contract/workloads/workloads.ts";
import { knownUntil, retakeRoomClause } from "../../core/fleet/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import {
  AFTER_DISK,
  AFTER_METER,
  admitClauses,
  NOW,
  returnDiskClause,
  stopMeterClauses,
} from "../../core/ledger/index.ts";
import { endClause, haltClause, type MachineRow, startClause, UNPLACED } from "../../core/machines/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { requireOffered } from "./artifacts.ts";
import { requireImage } from "./create.ts";
import type { Deps } from "./deps.ts";
import { eventClauses } from "./events.ts";
import { pinImages, resolutionEvents, resolutionPayload } from "./images.ts";
import { asFault } from "./insert.ts";
import { rulesOf } from "./isolation.ts";
import { type Launch, launchOf } from "./launch.ts";
import { approveClause, launchAbout } from "./launches.ts";
import { type Given, openGiven, requireFits, requirePlan, sealGiven } from "./payload.ts";
import { requireWorkload, type WorkloadRow } from "./rows.ts";
import { requireSealable } from "./sealed-env.ts";
import { viewWorkload } from "./view.ts";

type Needs = Pick<Deps, "db" | "converger" | "vault" | "judge" | "registryHost" | "guestImages">;
/** Each try that fails is an update of somebody else's that was taken. */
const REPLACES_MAX = 8;
const DONE: Answer = { status: 200, body: {} };

export async function start(deps: Needs, call: Call<typeof startWorkload>): Promise<Answer> {
  const workload = await requireWorkload(deps.db.soft, call.account.id, call.body.workloadId);
  await bringUp(deps, call, workload, "starting", sql`want = 'halted'`);
  return DONE;
}

export async function restart(deps: Needs, call: Call<typeof restartWorkload>): Promise<Answer> {
  const workload = await requireWorkload(deps.db.soft, call.account.id, call.body.workloadId);
  const { envVars } = call.body;
  // A restart runs what ran: tags that were read are not read again.
  if (envVars !== undefined) await replace(deps, call, workload, { envVars }, "known");
  await bringUp(deps, call, workload, "forcedRestart", sql`true`);
  return DONE;
}

export async function update(
  deps: Needs & Pick<Deps, "workloads">,
  call: Call<typeof updateWorkload>,
): Promise<Answer> {
  const { workloadId, ...change } = call.body;
  const workload = await requireWorkload(deps.db.soft, call.account.id, workloadId);
  const given = await replace(deps, call, workload, change, "anew");
  // One that is stopped stays so, and has the new content with its next start.
  await bringUp(deps, call, workload, "forcedRestart", sql`want = 'up'`);
  const row = await requireWorkload(deps.db.soft, call.account.id, workloadId);
  return { status: 200, body: viewWorkload(row, given.dockerCompose, deps.workloads) };
}

type Change = { [K in "dockerCompose" | "envVars" | "files"]?: Given[K] | undefined } & {
  artifactsVersion?: string | undefined;
};

/** Tags of our own registry that were read before are read `anew`, or stay as `known`. */
type Tags = "known" | "anew";

/**
 * The policy looks at the whole again: a variable may change what it looks at. Opening, judging and
 * sealing take their time and are no work for a transaction, so what is written must follow from what
 * is there when it is written; where another update came between, it is done again on top of that.
 */
async function replace(
  needs: Needs,
  call: Call,
  workload: WorkloadRow,
  change: Change,
  tags: Tags,
): Promise<Given> {
  for (let tries = 0; tries < REPLACES_MAX; tries++) {
    const given = await tryReplace(needs, call, workload, change, tags);
    if (given !== null) return given;
  }
  throw new Fault("platform.overloaded");
}

async function tryReplace(
  deps: Needs,
  call: Call,
  workload: WorkloadRow,
  change: Change,
  tags: Tags,
): Promise<Given | null> {
  const { db, vault } = deps;
  const { rows } = await sql<{ payload_sealed: Buffer }>`
    select payload_sealed from workloads where id = ${workload.id}::uuid and deleted_at is null`.execute(
    db.soft,
  );
  if (rows[0] === undefined) throw new Fault("workload.not-found");
  const before = await openGiven(vault, workload.id, rows[0].payload_sealed);
  const given: Given = {
    ...before,
    dockerCompose: change.dockerCompose ?? before.dockerCompose,
    envVars: change.envVars ?? before.envVars,
    files: change.files ?? before.files,
  };
  if (workload.image_sha256 !== null) requireSealable(given.sealedEnv ?? [], given.envVars, "vm-vtpm");
  const { plan } = await requirePlan(deps.judge, workload.account_id, given);
  const known = tags === "known" ? before.pins : {};
  const { pins, resolved } = await pinImages(deps, workload.account_id, plan, known);
  given.pins = pins;
  requireFits(given, plan);
  const version = change.artifactsVersion ?? workload.artifacts_version;
  const launch = await launchAfter(deps, workload, change, launchOf(given, plan, launchAbout(workload)));
  const sealed = await sealGiven(vault, workload.id, given);
  const by = call.principal!.keyId;
  const entry = { ...about(workload, "imageResolved"), payload: resolutionPayload(resolved, by) };
  const written = await sql<{ done: boolean }>`
    with subject as (
      update workloads set payload_sealed = ${sealed.payload}::bytea, compose_sealed = ${sealed.compose}::bytea, env_names = ${Object.keys(given.envVars)}::text[],
        file_names = ${Object.keys(given.files)}::text[], artifacts_version = ${version},
        image_sha256 = ${launch?.image ?? null}::text, updated_at = now()
      where id = ${workload.id}::uuid and deleted_at is null
        and sha256(payload_sealed) = ${createHash("sha256").update(rows[0].payload_sealed).digest()}
      returning id
    ),
    launch as (${approveClause(sql`subject`, launch, by)}),
    event as (
      insert into workload_events (workload_id, kind, details) ${resolutionEvents(sql`subject`, resolved, by)}
      returning seq
    ),
    ${appendClauses(entry, sql`exists (select from event)`)}
    select exists (select from subject) as done, (select count(*) from entry)`.execute(db.run);
  return written.rows[0]!.done ? given : null;
}

interface LaunchAfter {
  image: string;
  launch: string;
  approves: boolean;
}

/** What it is to be started as from now on; null for containers. Whether a change of its owner's is an approval is the account's rule. */
async function launchAfter(
  { db, guestImages }: Pick<Deps, "db" | "guestImages">,
  workload: WorkloadRow,
  { artifactsVersion }: Change,
  { sha256 }: Launch,
): Promise<LaunchAfter | null> {
  if (artifactsVersion !== undefined) await requireOffered(db.soft, artifactsVersion);
  if (workload.image_sha256 === null) return null;
  const image =
    artifactsVersion === undefined
      ? workload.image_sha256
      : requireImage({ guestImages }, artifactsVersion).sha256;
  const { launchApproval } = await rulesOf(db.soft, workload.account_id);
  return { image, launch: sha256, approves: launchApproval === "change" };
}

/** It is wished for and waits for a place; what it is started as there is what it was last wished to be. */
const WAITS = sql`(host_id is null and want = 'up')`;

/** A machine that is halted takes room and money again; one that runs has both, and one that waits its money. */
async function bringUp(
  deps: Needs,
  call: Call,
  workload: WorkloadRow,
  kind: "starting" | "forcedRestart",
  condition: RawBuilder<unknown>,
): Promise<void> {
  // Whether its domain is still its owner's is looked at with every start (domain-checks.ts).
  if (workload.custom_domain !== null)
    await sql`update workloads set custom_checked_at = null where id = ${workload.id}::uuid`.execute(
      deps.db.soft,
    );
  const { rows } = await sql<{ machine: MachineRow | null }>`
    with before as (
      select * from machines
      where id = ${workload.machine_id} and want <> 'down' and state not in ('ended', 'failed') and ${condition}
      for update
    ),
    ${retakeRoomClause(sql`before`)},
    ${startClause(
      sql`(select id from before where holds_compute or ${WAITS} or exists (select from room))`,
      sql`(select count(*) from room) >= 0`,
    )},
    ${admitClauses(
      {
        account: workload.account_id,
        machine: workload.machine_id,
        rateMicrosPerMin: workload.cost_micros_per_min,
      },
      sql`exists (select from machine)`,
    )},
    ${eventClauses(kind, {})},
    ${appendClauses(about(workload, kind), sql`exists (select from subject) and (select count(*) from afford) >= 0`)}
    select (select to_jsonb(machine) from machine) as machine, (select count(*) from entry),
      case when exists (select from before where not holds_compute and not ${WAITS}) and not exists (select from room)
        then refuse('capacity') end`
    .execute(deps.db.run)
    .catch((error: unknown) => {
      throw asFault(error);
    });
  send(deps, call, rows[0]!.machine);
}

export async function stop(deps: Needs, call: Call<typeof stopWorkload>): Promise<Answer> {
  const workload = await requireWorkload(deps.db.soft, call.account.id, call.body.workloadId);
  // One that waits for a place has nobody who would say that it stands, and costs nothing from here on.
  const { rows } = await sql<{ machine: MachineRow | null }>`
    with ${haltClause(sql`${workload.machine_id}`)},
    ${eventClauses("stopped", {}, UNPLACED)},
    ${stopMeterClauses({ when: UNPLACED })},
    ${appendClauses(about(workload, "stopping"), sql`exists (select from machine) and ${AFTER_METER}`)}
    select (select to_jsonb(machine) from machine) as machine, (select count(*) from entry)`.execute(
    deps.db.run,
  );
  send(deps, call, rows[0]!.machine);
  return DONE;
}

/** The workload is gone for its owner at once; what it has on its host goes as soon as the host is told. */
export async function remove(deps: Needs, call: Call<typeof deleteWorkload>): Promise<Answer> {
  const workload = await requireWorkload(deps.db.soft, call.account.id, call.body.workloadId);
  const { rows } = await sql<{ machine: MachineRow | null; gone: boolean }>`
    with locked as (
      -- Machines are locked before their workloads, here as everywhere.
      select id from machines where id = ${workload.machine_id} for update
    ),
    gone as (
      update workloads w set deleted_at = now(), payload_sealed = '', compose_sealed = ''
      from locked where machine_id = locked.id and deleted_at is null returning w.id, machine_id, account_id, disk_gb
    ),
    -- Without it what is left of its disk, on whichever host, cannot be read again.
    state_key as (delete from workload_state_keys where workload_id in (select id from gone)),
    sealed_env as (delete from workload_sealed_env where workload_id in (select id from gone)),
    ${endClause(sql`(select machine_id from gone)`, "api")},
    ${returnDiskClause()},
    -- From here on it costs nothing, also when its host is away and cannot be told.
    ${stopMeterClauses({ when: AFTER_DISK, until: knownUntil("machine", NOW) })},
    ${appendClauses(about(workload, "deleted"), sql`exists (select from gone) and ${AFTER_METER}`)}
    select exists (select from gone) as gone, (select to_jsonb(machine) from machine) as machine,
      (select count(*) from entry)`.execute(deps.db.run);
  if (!rows[0]!.gone) throw new Fault("workload.not-found");
  send(deps, call, rows[0]!.machine);
  return DONE;
}

function send(deps: Pick<Deps, "converger">, call: Call, machine: MachineRow | null): void {
  if (machine !== null) deps.converger.send({ ...machine, expires_at: null }, call.now);
}

const about = (workload: WorkloadRow, kind: string) => ({
  account: workload.account_id,
  type: `workload.${kind}`,
  subject: workload.id,
  payload: {},
});
