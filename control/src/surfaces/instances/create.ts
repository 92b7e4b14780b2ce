// SPDX-License-Identifier: Apache-2.0
/** A new instance: recorded and answered at once; its host makes it ready afterwards. */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { createInstance } from "#contract/instances/instances.ts";
import { AGENTS, INFERENCE_MODES, INFERENCE_MODES_CUSTOM } from "#contract/instances/vocabulary.ts";
import type { MachineSpec } from "#contract/link/machine.ts";
import { takeRoomClauses } from "../../core/fleet/index.ts";
import { appendClauses } from "../../core/journal/index.ts";
import { type MachineWish, NEW, requestKeptClause } from "../../core/machines/index.ts";
import { refusalOf } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { seededId } from "../../http/idempotency.ts";
import { CUSTOM, requireCustom, requireNoCustom, sealKey } from "./custom-inference.ts";
import type { Deps } from "./deps.ts";
import { toMachineSpec } from "./launch.ts";
import { requirePlace } from "./place.ts";
import { requirePublicKey } from "./public-key.ts";
import { findInstance } from "./rows.ts";
import { takeSpareClauses } from "./spares.ts";
import { viewCreated } from "./view.ts";

type Needs = Pick<
  Deps,
  "db" | "fleet" | "converger" | "guestImages" | "instances" | "vault" | "claim" | "log" | "makeName"
>;

/** Of 31⁸ names one that is held is met so seldom that this many in a row are no chance. */
const NAMES_MAX = 16;

export async function create(deps: Needs, call: Call<typeof createInstance>): Promise<Answer> {
  const { db, instances } = deps;
  const id = seededId(call.seed, "inst");
  // Recorded by a process that died before it answered.
  if (call.inEffect) return answer(deps, id);
  const { body, account } = call;
  const publicKey = requirePublicKey(body.public_key, instances.dialect.sshRsa);
  const agent = oneOf("agent", body.agent ?? "openclaw", AGENTS);
  const { customInference } = instances.dialect;
  const modes = customInference ? INFERENCE_MODES_CUSTOM : INFERENCE_MODES;
  const mode = oneOf("inference_mode", body.inference_mode ?? "default_gateway", modes);
  const custom = mode === CUSTOM ? requireCustom(body) : null;
  if (customInference && custom === null) requireNoCustom(body);
  if (custom !== null && body.inference_model !== undefined)
    throw new Fault("request.invalid", {
      ...{
        detail: "with inference_mode custom the model is custom_inference_model_name",
        field: "inference_model",
      },
    });
  const model = custom === null ? requireModel(instances, body.inference_model) : null;
  const slug = await requireSlug(deps, account.id);
  const { image, isolation, hosts, memoryMiB } = requirePlace(deps, agent);
  const { cpus, diskMiB, egressLimitBytes } = instances;
  const size = { cpus, memoryMiB, diskMiB, egressLimitBytes };
  const spec = toMachineSpec({ instance: id, account: account.id }, isolation, size);
  const { made, waited } = await insert(deps, {
    ...{
      id,
      machineId: seededId(call.seed, "mach"),
      account: account.id,
      slug,
      agent,
      publicKey,
      mode,
      image,
    },
    ...{ model, spec, hosts, once: call.once },
    custom: custom && { ...custom, sealed: await sealKey(deps.vault, id, custom.apiKey) },
  });
  if (!waited) deps.converger.send({ ...made, ...NEW, spec }, call.now);
  await db.settled();
  // Its host asks again by itself when this does not come through.
  if (waited && made.host_id !== null)
    deps
      .claim(made.host_id, { machineId: made.id, incarnation: made.incarnation })
      .catch((err: unknown) => deps.log.info({ err, instance: id }, "a spare is claimed when it asks"));
  return answer(deps, id);
}

async function answer({ db }: Pick<Needs, "db">, id: string): Promise<Answer> {
  const row = await findInstance(db.run, id);
  if (row === null) throw new Fault("instance.not-found");
  return { status: 202, body: viewCreated(row) };
}

function oneOf(field: string, given: string, known: readonly string[]): string {
  if (known.includes(given)) return given;
  throw new Fault("request.invalid", { detail: `${field} must be one of: ${known.join(", ")}`, field });
}

/** Where no model can be asked at all, any name is taken: the instance is of use without. */
function requireModel({ inferenceModel, inference }: Needs["instances"], given = inferenceModel): string {
  const known = inference.upstreams.flatMap(({ models }) => models);
  if (known.length === 0 || known.some(({ id }) => id === given)) return given;
  throw new Fault("request.invalid", {
    detail: "inference_model must be one of those that the gateway lists at /inference/v1/models",
    field: "inference_model",
  });
}

async function requireSlug({ db }: Pick<Needs, "db">, account: string): Promise<string> {
  const { rows } = await sql<{ slug: string }>`
    select slug from instance_tenants where account_id = ${account}`.execute(db.soft);
  if (rows[0] === undefined) throw new Fault("instance.no-tenant");
  return rows[0].slug;
}

interface NewInstance {
  id: string;
  machineId: string;
  account: string;
  slug: string;
  agent: string;
  publicKey: string;
  mode: string;
  model: string | null;
  custom: { endpoint: string; modelName: string; sealed: Buffer } | null;
  image: string;
  spec: MachineSpec;
  /** That can run it. */
  hosts: string[];
  once: RawBuilder<unknown>;
}

type Made = Pick<MachineWish, "id" | "host_id" | "want" | "generation" | "incarnation">;

/**
 * In a spare where one waits, else in a machine of its own. A name that is held makes all of it be undone, and it is tried with
 * another.
 */
async function insert(deps: Needs, ask: NewInstance): Promise<{ made: Made; waited: boolean }> {
  let waited = deps.instances.warm.some(({ agent }) => agent === ask.agent);
  for (let tries = 1; ; tries++) {
    try {
      return { made: await insertAs(deps, ask, deps.makeName(), waited), waited };
    } catch (error) {
      const refused = refusalOf(error);
      if (refused === "capacity" && waited) {
        waited = false;
        continue;
      }
      if (refused === "name" && tries < NAMES_MAX) continue;
      if (refused === "again") throw new Fault("idempotency.in-flight", {}, { retryAfterSeconds: 1 });
      if (refused === "capacity") throw new Fault("fleet.no-capacity", {}, { retryAfterSeconds: 30 });
      throw error;
    }
  }
}

const IF_NEW = sql`exists (select from once)`;

const ownClauses = (i: NewInstance) => sql`
  ${takeRoomClauses(i.spec, i.hosts, IF_NEW)},
  ${requestKeptClause({ id: i.machineId, account: i.account, surface: "instances", spec: i.spec })}`;

const spareClauses = ({ id: instance, ...ask }: NewInstance) =>
  takeSpareClauses({ instance, ...ask }, IF_NEW);

async function insertAs(
  { db, instances }: Needs,
  i: NewInstance,
  name: string,
  waited: boolean,
): Promise<Made> {
  const created = {
    ...{ account: i.account, type: "instance.created", subject: name, payload: { agent: i.agent } },
  };
  const { rows } = await sql<Made>`
    with ${i.once}, ${waited ? spareClauses(i) : ownClauses(i)},
    name as (
      insert into instance_names (account_id, name, instance_id)
      select ${i.account}, ${name}, ${i.id} from machine
      on conflict (account_id, name) do update set instance_id = excluded.instance_id, held_until = 'infinity'
        where instance_names.held_until < now()
      returning name
    ),
    instance as (
      insert into instances (id, account_id, machine_id, name, hostname, agent, public_key, inference_mode,
        inference_model, egress_limit_bytes, image_sha256, custom_inference_endpoint, custom_inference_model_name,
        custom_inference_key_sealed)
      select ${i.id}, ${i.account}, machine.id, name.name, ${`${name}.${i.slug}.${instances.zone}`}, ${i.agent}, ${i.publicKey},
        ${i.mode}, ${i.model}, ${instances.egressLimitBytes}::bigint, ${i.image}, ${i.custom?.endpoint ?? null}, ${i.custom?.modelName ?? null},
        ${i.custom?.sealed ?? null}::bytea
      from machine, name returning id
    ),
    ${appendClauses(created, sql`exists (select from instance)`)}
    select case when not exists (select from once) then refuse('again') when not exists (select from machine) then refuse('capacity')
      when not exists (select from name) then refuse('name') else (select count(*) = 1 from entry) end, made.*
    from (select) as one left join (select id, host_id, want, generation, incarnation from machine) as made on true`.execute(
    db.soft,
  );
  return rows[0]!;
}
