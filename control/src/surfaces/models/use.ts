// SPDX-License-Identifier: Apache-2.0
/** Models run here for whoever asks: one inference, one measurement. A confined child does it; few at once. */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/models/use.ts";
import { CHAIN_MODES, RESIZE_METHODS } from "#contract/models/vocabulary.ts";
import {
  type Answer as ChildAnswer,
  type GivenTensor,
  type ImageOptions,
  type Job,
  TARGETS,
} from "#models/job.ts";
import { digestOf } from "../../blobs/digest.ts";
import { runJob, siteTargets, viewerOf } from "../../core/models/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { ModelsDeps } from "./deps.ts";
import {
  type FunctionRow,
  findFunctions,
  functionView,
  isOriginal,
  ONNX,
  requireFunction,
  requireOwn,
} from "./rows.ts";

const POSTPROCESSORS = ["loitering", "left-behind", "line-crossing", "object-counting"];
const RUNS = 30;
const SEED = 7;
const WAITING_MAX = 16;

export const configuration = async ({ config }: ModelsDeps): Promise<Answer> => ({
  status: 200,
  body: {
    Targets: Object.values(TARGETS),
    ExternalTargets: config.externalTargets,
    MaxUploadBytes: config.uploadBytesMax,
    MaxOpset: config.opsetMax,
    Postprocessors: POSTPROCESSORS,
    ResizeMethods: [...RESIZE_METHODS],
    ChainModes: [...CHAIN_MODES],
  },
});

/** Children at once for those who wait for an answer; more wait, and beyond a number are sent away. */
export class Places {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  async within<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free === 0) {
      if (this.#waiting.length >= WAITING_MAX)
        throw new Fault("platform.overloaded", {}, { retryAfterSeconds: 2 });
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#free--;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

interface Runnable {
  id: string;
  digest: Buffer;
  number: number;
}

/** What can be run here: the optimised model of the newest version that has one, or the artefact that is named. */
async function requireRunnable(
  { db }: ModelsDeps,
  row: FunctionRow,
  artifact: string | undefined,
): Promise<Runnable> {
  const wanted = artifact === undefined ? sql`a.media_type = ${ONNX}` : sql`a.id = ${artifact}`;
  const { rows } = await sql<Runnable & { media_type: string }>`
    select a.id, a.digest, a.number, a.media_type from function_artifacts a
    where a.function_id = ${row.id} and ${wanted} order by a.number desc, a.created_at desc limit 1`.execute(
    db.run,
  );
  const found = rows[0];
  const runs = (type: string) => (Object.values(TARGETS) as string[]).includes(type) && !isOriginal(type);
  if (found === undefined)
    throw new Fault("function.not-ready", { detail: `${ONNX} has not been made of it.`, uuid: row.id });
  if (!runs(found.media_type))
    throw new Fault("function.not-ready", { detail: "this artefact is for another runtime.", uuid: row.id });
  return found;
}

async function inChild(
  deps: ModelsDeps,
  places: Places,
  found: Runnable,
  job: Job,
  other: Buffer | null,
  signal: AbortSignal,
): Promise<ChildAnswer> {
  const { store, work, folder } = deps;
  const done = await places.within(async () => {
    const input = await store.get(digestOf(found.digest));
    if (input === null) throw new Fault("function.not-ready", { detail: "its bytes are lost." });
    const files = { input, ...(other === null ? {} : { other: once(other) }) };
    return runJob(
      { folder, limits: work.child, job, files, onProgress: () => {}, signal },
      async (answer) => answer,
    );
  });
  if (!done.ok)
    throw new Fault("models.refused", { detail: done.rules[0]?.Message ?? "The model does not run." });
  return done.value;
}

async function* once(bytes: Buffer) {
  yield bytes;
}

export async function infer(
  deps: ModelsDeps,
  places: Places,
  call: Call<typeof contract.infer>,
): Promise<Answer> {
  const row = await requireFunction(deps.db.run, call.actor, call.params.uuid);
  const found = await requireRunnable(deps, row, undefined);
  const body = await readWhole(call);
  const type = (call.headers["content-type"] ?? "").split(";")[0]!.trim().toLowerCase();
  const picture = type.startsWith("image/");
  const job: Job = {
    ...{ op: "infer", limits: deps.work.limits },
    tensors: picture ? null : tensorsOf(type, body),
    image: picture ? imageOf(row, call.query) : null,
  };
  const answer = await inChild(deps, places, found, job, picture ? body : null, call.signal);
  if (answer.op !== "infer") throw new Error("the child answered something else");
  return {
    status: 200,
    body: {
      model_name: row.name,
      model_version: String(found.number),
      outputs: answer.outputs,
      Detections: answer.detections,
      TimingMs: answer.timing,
    },
  };
}

async function readWhole({ stream }: Call): Promise<Buffer> {
  const limit = 16 * 1024 * 1024;
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream) {
    size += (part as Buffer).length;
    if (size > limit) throw new Fault("request.too-large", { limit });
    parts.push(part as Buffer);
  }
  return Buffer.concat(parts);
}

function tensorsOf(type: string, body: Buffer): GivenTensor[] {
  if (type !== "" && type !== "application/json" && type !== "application/x-www-form-urlencoded")
    throw new Fault("request.media-type", { expected: "application/json or image/*" });
  let given: unknown;
  try {
    given = JSON.parse(body.toString("utf8"));
  } catch {
    throw new Fault("request.malformed", { detail: "The body is not JSON." });
  }
  const inputs = (given as { inputs?: unknown } | null)?.inputs;
  const fits = (each: unknown) => {
    const { name, shape, datatype, data } = (each ?? {}) as Record<string, unknown>;
    return (
      typeof name === "string" &&
      typeof datatype === "string" &&
      Array.isArray(shape) &&
      shape.length <= 8 &&
      shape.every((size) => Number.isInteger(size) && size >= 0) &&
      Array.isArray(data)
    );
  };
  if (!Array.isArray(inputs) || inputs.length > 64 || !inputs.every(fits))
    throw new Fault("request.invalid", {
      detail: "inputs is a list of {name, shape, datatype, data}.",
      field: "inputs",
    });
  return inputs.map(({ name, shape, datatype, data }) => ({ name, shape, datatype, data }));
}

function imageOf(row: FunctionRow, query: Call<typeof contract.infer>["query"]): ImageOptions {
  const { means, vars, order } = row.described.InputDriverDetails as {
    means?: number[];
    vars?: number[];
    order?: number;
  };
  return {
    ...{ mean: means ?? [], scale: vars ?? [], order: order ?? 0 },
    ...{ resize: query.ResizeMethod ?? "Letterbox", threshold: query.Threshold ?? 0 },
  };
}

const RESULTS = ["P50", "P95", "P99", "PeakRSS", "LoadMs", "Samples"] as const;

interface BenchmarkRow {
  id: string;
  artifact_id: string | null;
  measured: Record<string, unknown>;
  created_by: string;
  created_at: Date;
  records: number;
}

const benchmarkView = (row: BenchmarkRow) => ({
  UUID: row.id,
  Artifact: row.artifact_id,
  ...row.measured,
  CreatedBy: row.created_by,
  CreatedAt: row.created_at.toISOString(),
});

export async function listBenchmarks(
  { db }: ModelsDeps,
  call: Call<typeof contract.listBenchmarks>,
): Promise<Answer> {
  const { id } = await requireFunction(db.run, call.actor, call.params.uuid);
  const page = pageOf(call.query, { CreatedAt: "created_at" }, "-CreatedAt", "id");
  const all = (rest: ReturnType<typeof sql>) =>
    sql<BenchmarkRow>`
    select id, artifact_id, measured, created_by, created_at, (count(*) over ())::int as records
    from benchmarks where function_id = ${id} ${rest}`.execute(db.run);
  const { rows } = await all(sql`order by ${page.order} limit ${page.limit} offset ${page.offset}`);
  return paged(rows.map(benchmarkView), rows[0]?.records ?? (await all(sql``)).rows.length);
}

export async function createBenchmark(
  deps: ModelsDeps,
  places: Places,
  call: Call<typeof contract.createBenchmark>,
): Promise<Answer> {
  const row = await requireOwn(deps.db.run, call.actor, call.params.uuid);
  const {
    Artifact,
    Hardware = "",
    Runtime = "onnxruntime",
    BatchSize = 1,
    ...rest
  } = call.body as Record<string, unknown> & {
    Artifact?: string;
    Hardware?: string;
    Runtime?: string;
    BatchSize?: number;
  };
  const given = RESULTS.filter((name) => rest[name] !== undefined);
  if (given.length > 0 && given.length < RESULTS.length)
    throw new Fault("request.invalid", {
      detail: `Results are all of ${RESULTS.join(", ")}, or none.`,
      field: given[0]!,
    });
  if (given.length === 0 && BatchSize !== 1)
    throw new Fault("request.invalid", {
      detail: "What is measured here has a batch of 1.",
      field: "BatchSize",
    });
  const measured = given.length > 0 ? rest : await measure(deps, places, row, Artifact, call.signal);
  const artifact =
    given.length > 0 ? await namedArtifact(deps, row, Artifact) : (measured.Artifact as string);
  const { Artifact: _, ...results } = measured;
  const { rows } = await sql<BenchmarkRow>`
    insert into benchmarks (id, function_id, artifact_id, measured, created_by)
    values (${randomUUID()}, ${row.id}, ${artifact},
      ${JSON.stringify({ Hardware: Hardware || process.arch, Runtime, BatchSize, ...results })}, ${call.actor.name})
    returning id, artifact_id, measured, created_by, created_at, 1 as records`.execute(deps.db.run);
  return { status: 201, body: benchmarkView(rows[0]!) };
}

async function namedArtifact(
  { db }: ModelsDeps,
  row: FunctionRow,
  id: string | undefined,
): Promise<string | null> {
  if (id === undefined) return null;
  const { rows } =
    await sql`select 1 from function_artifacts where id = ${id} and function_id = ${row.id}`.execute(db.run);
  if (rows.length === 0) throw new Fault("function.artifact-not-found", { uuid: id });
  return id;
}

async function measure(
  deps: ModelsDeps,
  places: Places,
  row: FunctionRow,
  artifact: string | undefined,
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  await namedArtifact(deps, row, artifact);
  const found = await requireRunnable(deps, row, artifact);
  const job: Job = { op: "benchmark", limits: deps.work.limits, runs: RUNS, seed: SEED };
  const answer = await inChild(deps, places, found, job, null, signal);
  if (answer.op !== "benchmark") throw new Error("the child answered something else");
  const { op: _, ...results } = answer;
  return { ...results, Artifact: found.id };
}

/**
 * What a device at the site could be given now: seen by the site's owner, and made into something that a
 * server there runs. A site that is away shows nothing, as it takes nothing.
 */
export async function available(
  { db }: ModelsDeps,
  call: Call<typeof contract.listAvailable> | Call<typeof contract.listAvailableOf>,
): Promise<Answer> {
  const { party } = call.actor;
  const { siteId } = call.params;
  const { rows: sites } = await sql`
    select 1 from sites where id = ${siteId} and party_id = ${party.id}`.execute(db.soft);
  if (sites.length === 0) throw new Fault("site.not-found", { uuid: siteId });
  const page = pageOf(call.query, { Name: "f.name", UpdatedAt: "f.updated_at" }, "Name", "f.id");
  const customization = "customization" in call.params ? call.params.customization : undefined;
  const condition = sql`f.status = 'ok' and exists (
      select from function_artifacts a where a.function_id = f.id and a.media_type in (${siteTargets(siteId)})
        and a.number = coalesce((select l.number from function_aliases l
          where l.function_id = f.id and l.name = 'default'), f.latest))
    and ${customization === undefined ? sql`true` : sql`f.customization in ('', ${customization})`}`;
  const viewer = viewerOf(party.id);
  const rows = await findFunctions(db.soft, viewer, condition, page);
  const records = rows[0]?.records ?? (await findFunctions(db.soft, viewer, condition)).length;
  return paged(rows.map(functionView), records);
}
