// SPDX-License-Identifier: Apache-2.0
/**
 * Does the work on models that is queued, in each replica: takes as many jobs as it has places for, has a
 * confined child do each, and keeps what came of it.
 *
 *  A. What a process had that died is given back: its own at its next start, another's when the lease ends.
 *  B. Somebody who cancels says so on the journal's channel; whoever does the work then looks and stops it.
 *  C. Of one party there is one piece of work at once, as long as others wait: uploads of one hold up nobody else.
 *  D. What failed for a reason that passes (no walls, no store, no room) waits and is tried again.
 */
import { randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type { Job as ChildJob, Format, Limits, Report, Rule, TargetName } from "#models/job.ts";
import { TARGETS } from "#models/job.ts";
import { bringUpload } from "../../blobs/bring.ts";
import { digestBytes, digestOf } from "../../blobs/digest.ts";
import type { BlobStore, Stored } from "../../blobs/port.ts";
import type { Database } from "../../database/open.ts";
import { Bell, type Job, openJobs } from "../jobs/index.ts";
import { JOURNAL_CHANNEL } from "../journal/index.ts";
import type { ArtifactKeys } from "./keys.ts";
import { requireRoom } from "./room.ts";
import { type ChildLimits, clearWork, runJob } from "./run-job.ts";
import {
  addJob,
  enqueue,
  finish,
  giveBack,
  type Held,
  keepReport,
  type Outcome,
  progress,
  settled,
  settleFunction,
  type TaskJob,
  type TaskQueue,
  take,
  WORK_CHANNEL,
} from "./tasks.ts";
import { sweepWithdrawn } from "./withdrawn.ts";

export interface ModelsConfig {
  uploadBytesMax: number;
  opsetMax: number;
  irVersionMax: number;
  /** Children of this process at once. */
  children: number;
  threads: number;
  memoryMiB: number;
  timeoutMs: number;
  /** Media types that workers outside make. */
  externalTargets: string[];
  leaseMs: number;
  /** Null: as many as the disk has. */
  bytesPerAccount: number | null;
}

export interface WorkDeps {
  db: Database;
  store: BlobStore;
  keys: ArtifactKeys;
  config: ModelsConfig;
  /** Of this process, for the files of jobs. */
  folder: string;
  replica: string;
  onError(error: unknown): void;
}

export interface Work {
  queue(): Promise<TaskQueue>;
  limits: Limits;
  child: ChildLimits;
  stop(): Promise<void>;
}

const IDLE_MS = 60_000;
const BUSY_MS = 1_000;
const AGAIN_MS = 15_000;
const TRIES = 20;
const GRACE_MS = 30_000;
const ELEMENTS_MAX = 64 * 1024 * 1024;
const NODES_MAX = 100_000;
const SEED = 20_260_101;
const LOST = sql`interval '2 minutes'`;

export async function startWork(deps: WorkDeps): Promise<Work> {
  const { db, config, onError } = deps;
  await clearWork(deps.folder);
  const limits = {
    ...{ opsetMax: config.opsetMax, irVersionMax: config.irVersionMax, threads: config.threads },
    ...{ elementsMax: ELEMENTS_MAX, nodesMax: NODES_MAX },
  };
  const child = {
    ...{ memoryMiB: config.memoryMiB, timeoutMs: config.timeoutMs },
    fileBytesMax: 2 * config.uploadBytesMax + 1024 * 1024,
  };
  const takenMs = config.timeoutMs + GRACE_MS;
  const jobs = openJobs(db, onError);
  let opening: Promise<TaskQueue> | null = null;
  const queue = () => {
    opening ??= jobs.queue<TaskJob>({ name: "models", takenMs }).catch((error) => {
      opening = null;
      throw error;
    });
    return opening;
  };
  const bell = new Bell();
  const running = new Map<string, { stop: AbortController; over: Promise<void> }>();
  let stopped = false;
  await db.listen(WORK_CHANNEL, () => bell.ring());
  await db.listen(JOURNAL_CHANNEL, (payload) => {
    const id = payload.split(" ")[1] ?? "";
    if (running.has(id)) stopIfCancelled(id).catch(onError);
  });
  const stopIfCancelled = async (id: string) => {
    const { rows } = await sql`select 1 from conversions where id = ${id} and status = 'processing'`.execute(
      db.run,
    );
    if (rows.length === 0) running.get(id)?.stop.abort();
  };

  const turn = async (): Promise<number> => {
    await takeBack(deps, queue);
    await sweepWithdrawn(db);
    const { rows } =
      await sql`select 1 from conversions where status = 'queued' and not external limit 1`.execute(db.soft);
    if (rows.length === 0) return IDLE_MS;
    const free = config.children - running.size;
    if (free <= 0) return BUSY_MS;
    const open = await queue();
    await open.tend();
    const taken = await open.fetch({ limit: free, groupMax: 1, ignoreGroups: [] });
    for (const job of taken) begin(open, job);
    return taken.length > 0 ? 0 : BUSY_MS;
  };
  const begin = (open: TaskQueue, job: Job<TaskJob>) => {
    const id = job.data.conversion;
    const stop = new AbortController();
    const over = work({ ...deps, limits, child, takenMs }, open, job, stop.signal)
      .catch((error) => {
        if (!stopped) onError(error);
      })
      .finally(() => {
        running.delete(id);
        bell.ring();
      });
    running.set(id, { stop, over });
  };
  await takeBack(deps, queue, deps.replica);
  const loop = (async () => {
    while (!stopped) {
      const waitMs = await turn().catch((error) => {
        if (!stopped) onError(error);
        return BUSY_MS;
      });
      if (waitMs > 0 && !stopped) await bell.wait(waitMs);
    }
  })();
  return {
    ...{ queue, limits, child },
    stop: async () => {
      stopped = true;
      bell.ring();
      for (const { stop } of running.values()) stop.abort();
      await loop;
      await Promise.all([...running.values()].map(({ over }) => over));
      await jobs.stop();
    },
  };
}

/** A, and jobs that were lost; `replica` is given at its start, when nothing of it can be at work. */
async function takeBack(
  { db }: WorkDeps,
  queue: () => Promise<TaskQueue>,
  replica: string | null = null,
): Promise<void> {
  const { rows } = await sql<{ id: string; party: string; external: boolean; job: Job<TaskJob> | null }>`
    select c.id, f.party_id as party, c.external, c.job from conversions c join functions f on f.id = c.function_id
    where (c.status = 'processing' and (c.lease_until < now() or (c.held_by = ${replica} and not c.external)))
      or (c.status = 'queued' and not c.external and c.lease_until is null and c.created_at < now() - ${LOST}
        and ${replica !== null})
    limit 500`.execute(db.run);
  for (const { id, party, external, job } of rows) {
    const open = external ? null : await queue();
    await db.write(async (tx) => {
      await sql`
        update conversions set status = 'queued', held_by = null, lease_until = null, lease_hash = null
        where id = ${id} and status = 'processing'`.execute(tx);
      if (open === null) return;
      // It counts as under way until its time is over, and would hold up the party's others.
      if (job !== null) await open.complete(tx, job);
      await addJob(tx, open, id, party);
    });
  }
}

interface WorkNow extends WorkDeps {
  limits: Limits;
  child: ChildLimits;
  takenMs: number;
}

async function work(deps: WorkNow, queue: TaskQueue, job: Job<TaskJob>, signal: AbortSignal): Promise<void> {
  const { db, replica, takenMs } = deps;
  const held = await db.write((tx) => take(tx, job, replica, takenMs));
  if (held === null) return db.write((tx) => queue.complete(tx, job));
  try {
    await (held.target === null
      ? look(deps, queue, job, held, signal)
      : convert(deps, queue, job, held, signal));
  } catch (error) {
    // Cancelled, or we stop: what it is to be is in its row.
    const passes = signal.aborted || (error instanceof Fault && error.kind.retry === "later");
    if (!passes) deps.onError(error);
    await db.write(async (tx) => {
      await queue.complete(tx, job);
      if (!passes || held.attempt >= TRIES)
        await endAs(tx, held, failed([said("platform.failed", "The work could not be done.")]));
      else if (await giveBack(tx, held, error instanceof Fault ? error.message : "taken back"))
        await addJob(tx, queue, held.id, held.party, signal.aborted ? 0 : AGAIN_MS);
      await settleFunction(tx, held.functionId);
    });
  }
}

type Tx = Parameters<typeof finish>[0];

const said = (Id: string, Message: string): Rule => ({ Id, Level: "error", Message });
const failed = (rules: Rule[]): Outcome => ({ status: "error", log: rules[0]?.Message ?? "failed", rules });

async function endAs(tx: Tx, held: Held, outcome: Outcome): Promise<boolean> {
  if (!(await finish(tx, held, outcome))) return false;
  await settled(tx, held, outcome);
  return true;
}

const EMPTY: Report = {
  ...{ Conforms: false, Rules: [], Opset: null, IRVersion: null, Producer: "", Operators: {}, Parameters: 0 },
  ...{ Inputs: [], Outputs: [], Classes: [], Repair: null },
};

/** A look at a version; when it conforms, what is made of each version by itself follows. */
async function look(deps: WorkNow, queue: TaskQueue, job: Job<TaskJob>, held: Held, signal: AbortSignal) {
  const ask: ChildJob = { op: "inspect", format: held.format as Format, limits: deps.limits, repair: null };
  const done = await run(deps, held, ask, signal, async (answer) => answer);
  const report: Report =
    done.ok && done.value.op === "inspect"
      ? done.value.report
      : { ...EMPTY, Rules: done.ok ? [] : done.rules };
  const outcome: Outcome = report.Conforms
    ? { status: "ok", log: "conforms" }
    : { ...failed(report.Rules.filter(({ Level }) => Level === "error")) };
  await deps.db.write(async (tx) => {
    await queue.complete(tx, job);
    if (!(await finish(tx, held, outcome))) return;
    // What could not be read as anything is not kept.
    await keepReport(tx, held, report, done.ok);
    const { rows } = await sql<{ targets: string[] }>`
      select targets from functions where id = ${held.functionId} for update`.execute(tx);
    if (report.Conforms)
      for (const target of rows[0]?.targets ?? [])
        await enqueue(tx, queue, {
          ...{ functionId: held.functionId, number: held.number, target, options: {}, party: held.party },
          external: !isBuiltIn(target),
        });
    await settled(tx, held, outcome);
  });
}

export const isBuiltIn = (target: string): boolean => nameOf(target) !== null;
const nameOf = (target: string): TargetName | null =>
  (Object.keys(TARGETS) as TargetName[]).find((name) => TARGETS[name] === target) ?? null;

async function convert(deps: WorkNow, queue: TaskQueue, job: Job<TaskJob>, held: Held, signal: AbortSignal) {
  const { options } = held;
  const { renames = {}, freeze = {} } = options;
  const repaired = Object.keys(renames).length + Object.keys(freeze).length > 0;
  const ask: ChildJob = {
    ...{ op: "convert", format: held.format as Format, limits: deps.limits, seed: SEED },
    ...{ target: nameOf(held.target!)!, level: options.level ?? "extended" },
    repair: repaired ? { renames, freeze } : null,
  };
  const done = await run(deps, held, ask, signal, async (answer, out) => ({
    answer,
    stored: await keepFile(deps, createReadStream(out)),
  }));
  if (!done.ok) {
    await deps.db.write(async (tx) => {
      await queue.complete(tx, job);
      await endAs(tx, held, failed(done.rules));
    });
    return;
  }
  const { answer, stored } = done.value;
  if (answer.op !== "convert") throw new Error("the child answered something else");
  const kept = deps.db.write(async (tx) => {
    await queue.complete(tx, job);
    // Before the function's (tasks.ts, C): it may have been cancelled, or be cancelled now.
    await sql`select 1 from conversions where id = ${held.id} for update`.execute(tx);
    const artifactId = await addArtifact(tx, deps, {
      ...{ functionId: held.functionId, number: held.number, mediaType: held.target!, stored },
      ...{ options, deviation: answer.deviation },
    });
    const outcome: Outcome = { status: "ok", log: `made ${stored.sizeBytes} bytes`, artifactId };
    if (!(await finish(tx, held, outcome))) {
      await sql`delete from function_artifacts where id = ${artifactId}`.execute(tx);
      return;
    }
    if (repaired)
      await sql`
        update function_versions set repaired = ${JSON.stringify(answer.report)}
        where function_id = ${held.functionId} and number = ${held.number}`.execute(tx);
    await settled(tx, held, outcome);
  });
  await kept.catch(async (error) => {
    if (!(error instanceof Fault && error.code === "models.full")) throw error;
    await deps.db.write(async (tx) => {
      await queue.complete(tx, job);
      await endAs(tx, held, failed([said("limits.storage", error.message)]));
    });
  });
}

function run<T>(
  deps: WorkNow,
  held: Held,
  job: ChildJob,
  signal: AbortSignal,
  use: Parameters<typeof runJob<T>>[1],
) {
  const input = async function* () {
    const bytes = held.digest === null ? null : await deps.store.get(digestOf(held.digest));
    if (bytes === null) throw new Fault("function.not-ready", { detail: "its file was not kept." });
    yield* bytes;
  };
  let telling = Promise.resolve();
  const onProgress = (share: number, log: string) => {
    telling = telling.then(() => deps.db.write((tx) => progress(tx, held, share, log))).catch(deps.onError);
  };
  const { folder, child: limits } = deps;
  return runJob<T>(
    { folder, limits, job, files: { input: input() }, onProgress, signal },
    async (answer, out) => {
      await telling;
      return use(answer, out);
    },
  );
}

/** Bytes that nobody holds a row for yet: the collector lets them lie for as long as it lets uploads. */
export async function keepFile(
  { db, store }: Pick<WorkDeps, "db" | "store">,
  source: AsyncIterable<Uint8Array>,
  bytesMax = Number.MAX_SAFE_INTEGER,
): Promise<Stored> {
  const upload = await store.begin();
  try {
    await store.append(upload, 0, source, (size) => {
      if (size > bytesMax) throw new Fault("request.too-large", { limit: bytesMax });
    });
    const stored = await store.hash(upload);
    await bringUpload({ db, store }, upload, stored);
    return stored;
  } catch (error) {
    await store.drop(upload);
    throw error;
  }
}

export interface NewArtifact {
  functionId: string;
  number: number;
  mediaType: string;
  stored: Stored;
  options: object;
  deviation: object | null;
}

/** Locks the function (tasks.ts, C), then its owner's room. */
export async function addArtifact(
  tx: Tx,
  { keys, config }: Pick<WorkDeps, "keys"> & { config: Pick<ModelsConfig, "bytesPerAccount"> },
  given: NewArtifact,
): Promise<string> {
  const { functionId, number, mediaType, stored, options, deviation } = given;
  const id = randomUUID();
  const sha256 = stored.digest.slice("sha256:".length);
  const { keyId, signature } = keys.sign({
    functionId,
    number,
    mediaType,
    sha256,
    sizeBytes: stored.sizeBytes,
  });
  const { rows: owners } = await sql<{ party_id: string }>`
    select party_id from functions where id = ${functionId} for no key update`.execute(tx);
  const party = owners[0]?.party_id;
  if (party === undefined) throw new Fault("function.not-found", { uuid: functionId });
  const { rows } = await sql`
    with blob as (
      update blobs set touched_at = now() where digest = ${digestBytes(stored.digest)} and removing is null returning digest
    )
    insert into function_artifacts (id, function_id, number, media_type, digest, size_bytes, key_id, signature, options, deviation, party_id)
    select ${id}, ${functionId}, ${number}, ${mediaType}, digest, ${stored.sizeBytes}, ${keyId}, ${signature},
      ${JSON.stringify(options)}, ${deviation === null ? null : JSON.stringify(deviation)}, ${party}
    from blob returning 1`.execute(tx);
  if (rows.length === 0) throw new Fault("platform.overloaded", {}, { retryAfterSeconds: 5 });
  await requireRoom(tx, party, config.bytesPerAccount);
  return id;
}
