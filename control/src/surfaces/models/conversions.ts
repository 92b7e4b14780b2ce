// SPDX-License-Identifier: Apache-2.0
/** Conversions: asked for, followed, cancelled, tried again. */
import { type RawBuilder, sql } from "kysely";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/models/conversions.ts";
import { CONVERSION_STATUSES } from "#contract/models/vocabulary.ts";
import type { Rule } from "#models/job.ts";
import type { Actor } from "../../core/identity/index.ts";
import {
  enqueue,
  functionSeen,
  isBuiltIn,
  requeue,
  settleFunction,
  type TaskOptions,
  tell,
} from "../../core/models/index.ts";
import type { Db, Tx } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { shown } from "../../http/etag.ts";
import { followEvents, lastEventId } from "../../http/event-stream.ts";
import { paged, pageOf } from "../../http/paging.ts";
import { waitFor } from "../../http/wait-for.ts";
import type { ModelsDeps } from "./deps.ts";
import { type ArtifactRow, artifactJson, artifactView, requireFunction, requireOwn } from "./rows.ts";
import { requireTargets } from "./upload.ts";

export interface ConversionRow {
  id: string;
  function_id: string;
  number: number;
  target: string;
  options: TaskOptions;
  external: boolean;
  status: "queued" | "processing" | "ok" | "error" | "cancelled";
  progress: number;
  log: string;
  rules: Rule[];
  started_at: Date | null;
  finished_at: Date | null;
  artifact: ArtifactRow | null;
  party_id: string;
  account_id: string;
  records: number;
}

const OVER = ["ok", "error", "cancelled"];

export async function findConversions(
  db: Db | Tx,
  actor: Actor,
  condition: RawBuilder<unknown>,
  rest: RawBuilder<unknown> = sql``,
): Promise<ConversionRow[]> {
  const { rows } = await sql<ConversionRow>`
    select c.id, c.function_id, c.number, c.target, c.options, c.external, c.status, c.progress, c.log, c.rules,
      c.started_at, c.finished_at, f.party_id, p.account_id, (count(*) over ())::int as records,
      (select ${artifactJson} from function_artifacts a where a.id = c.artifact_id) as artifact
    from conversions c join functions f on f.id = c.function_id join parties p on p.id = f.party_id
    where c.target is not null and ${functionSeen(actor)} and ${condition} ${rest}`.execute(db);
  return rows;
}

export const conversionView = (row: ConversionRow) => ({
  UUID: row.id,
  Function: row.function_id,
  Version: row.number,
  Target: row.target,
  Options: row.options,
  Status: row.status,
  Progress: row.progress,
  Log: row.log,
  Rules: row.rules,
  StartedAt: row.started_at?.toISOString() ?? null,
  FinishedAt: row.finished_at?.toISOString() ?? null,
  Artifact: row.artifact === null ? null : artifactView(row.artifact),
});

export async function requireConversion(db: Db | Tx, actor: Actor, id: string): Promise<ConversionRow> {
  const [row] = await findConversions(db, actor, sql`c.id = ${id}`);
  if (row === undefined) throw new Fault("conversion.not-found", { uuid: id });
  return row;
}

async function requireOwnConversion(db: Db | Tx, actor: Actor, id: string): Promise<ConversionRow> {
  const row = await requireConversion(db, actor, id);
  if (row.party_id !== actor.party.id) throw new Fault("models.not-owner", { uuid: id });
  return row;
}

export async function create(
  deps: ModelsDeps,
  call: Call<typeof contract.createConversions>,
): Promise<Answer> {
  const { Targets, Options = {} } = call.body;
  requireTargets(deps, Targets);
  const row = await requireOwn(deps.db.run, call.actor, call.params.uuid);
  if (row.report === null) throw new Fault("function.not-read", { uuid: row.id }, { retryAfterSeconds: 2 });
  const queue = await deps.work.queue();
  const ids = await deps.db.write(async (tx) => {
    const made: string[] = [];
    for (const target of new Set(Targets))
      made.push(
        await enqueue(tx, queue, {
          ...{ functionId: row.id, number: row.latest, target, options: Options, party: row.party_id },
          external: !isBuiltIn(target),
        }),
      );
    await settleFunction(tx, row.id);
    return made;
  });
  const rows = await findConversions(deps.db.run, call.actor, sql`c.id = any(${ids}::uuid[])`);
  const inOrder = ids.flatMap((id) => rows.filter((each) => each.id === id));
  return { status: 201, body: inOrder.map(conversionView) };
}

export async function list({ db }: ModelsDeps, call: Call<typeof contract.listConversions>): Promise<Answer> {
  const { id } = await requireFunction(db.run, call.actor, call.params.uuid);
  const page = pageOf(call.query, { CreatedAt: "c.created_at" }, "-CreatedAt", "c.id");
  const ofIt = sql`c.function_id = ${id}`;
  const part = sql`order by ${page.order} limit ${page.limit} offset ${page.offset}`;
  const rows = await findConversions(db.run, call.actor, ofIt, part);
  const records = rows[0]?.records ?? (await findConversions(db.run, call.actor, ofIt)).length;
  return paged(rows.map(conversionView), records);
}

export async function get(
  { db, feed }: ModelsDeps,
  call: Call<typeof contract.getConversion>,
): Promise<Answer> {
  const row = await waitFor(call, {
    states: CONVERSION_STATUSES,
    read: () => requireConversion(db.run, call.actor, call.params.uuid),
    statusOf: ({ status }) => status,
    isOver: ({ status }) => OVER.includes(status),
    more: ({ id }, timeoutMs, signal) => feed.wait(id, timeoutMs, signal),
  });
  return shown(call.headers, row.id, conversionView(row));
}

export async function cancel(
  { db }: ModelsDeps,
  call: Call<typeof contract.cancelConversion>,
): Promise<Answer> {
  const row = await requireOwnConversion(db.run, call.actor, call.params.uuid);
  await db.write(async (tx) => {
    const { rows } = await sql`
      update conversions set status = 'cancelled', finished_at = now(), held_by = null, lease_hash = null, lease_until = null
      where id = ${row.id} and status in ('queued', 'processing') returning 1`.execute(tx);
    if (rows.length === 0) throw new Fault("conversion.over", { uuid: row.id });
    await settleFunction(tx, row.function_id);
    await told(tx, row, "cancelled", "cancelled");
  });
  return { status: 200, body: { Message: "The conversion is cancelled.", UUID: row.id } };
}

export async function retry(deps: ModelsDeps, call: Call<typeof contract.retryConversion>): Promise<Answer> {
  const { db } = deps;
  const row = await requireOwnConversion(db.run, call.actor, call.params.uuid);
  const queue = row.external ? null : await deps.work.queue();
  await db.write(async (tx) => {
    const { rows } = await sql`
      update conversions set status = 'queued', progress = 0, rules = '[]', finished_at = null
      where id = ${row.id} and status in ('error', 'cancelled') returning 1`.execute(tx);
    if (rows.length === 0) throw new Fault("conversion.under-way", { uuid: row.id });
    if (queue !== null) await requeue(tx, queue, row.id, row.party_id);
    await settleFunction(tx, row.function_id);
    await told(tx, row, "queued", "tried again");
  });
  return { status: 200, body: conversionView(await requireConversion(db.run, call.actor, row.id)) };
}

const told = (tx: Tx, row: ConversionRow, status: string, log: string) =>
  tell(
    tx,
    { id: row.id, account: row.account_id, target: row.target, functionId: row.function_id },
    status,
    row.progress,
    log,
  );

export async function events(
  deps: ModelsDeps,
  call: Call<typeof contract.conversionEvents>,
): Promise<Answer> {
  const { db, feed } = deps;
  const row = await requireConversion(db.run, call.actor, call.params.uuid);
  const statusOf = (payload: unknown) => String((payload as { Status?: unknown } | null)?.Status ?? "");
  const stream = followEvents(
    {
      read: (seq, limit) => feed.after(row.account_id, row.id, seq, limit),
      more: (timeoutMs, signal) => feed.wait(row.id, timeoutMs, signal),
      show: ({ payload, at }) => ({
        event: "progress",
        data: { ...(payload as object), At: at.toISOString() },
      }),
      isLast: ({ payload }) => OVER.includes(statusOf(payload)),
      isOver: async () => {
        const [now] = await findConversions(db.run, call.actor, sql`c.id = ${row.id}`);
        return now === undefined || OVER.includes(now.status);
      },
    },
    lastEventId(call.headers) ?? 0,
    call.signal,
  );
  return { status: 200, events: stream };
}
