// SPDX-License-Identifier: Apache-2.0
/**
 * What servers count, kept for a while.
 *
 *  A. A server that tells the same twice, since the answer was lost, is known by its number.
 *  B. Whoever holds a server's key could tell as much as it likes, about any time. One row is kept for each
 *     interval, none from the future and none older than is kept: rows are bounded by time alone.
 *  C. A server tells of its own devices, and of no others.
 *  D. Runs of models are added up beside the samples, by the statement that keeps the sample they came with:
 *     what is told again, or passed over, is not counted, and what is forgotten with its time stays counted.
 */
import { sql } from "kysely";
import type * as contract from "#contract/devices/telemetry.ts";
import type { Db } from "../../database/open.ts";
import type { Answer, Call } from "../../http/call.ts";
import { paged, pageOf } from "../../http/paging.ts";
import type { DevicesDeps } from "./deps.ts";
import { requireDevice, requireOwnServer, requireServer } from "./rows.ts";

export interface TelemetryBounds {
  telemetryEveryMs: number;
  telemetryHours: number;
}

/** More than a server could ever do, and still a number on the wire. */
const COUNTED_MAX = sql.lit(Number.MAX_SAFE_INTEGER);

export async function put(
  { db, bounds }: Pick<DevicesDeps, "db" | "bounds">,
  call: Call<typeof contract.putTelemetry>,
): Promise<Answer> {
  const server = await requireOwnServer(db.soft, call.principal?.serverId ?? null, call.params.id);
  const { Samples } = call.body;
  const samples = Samples.map(({ Sequence, AgeMs, DurationMs, Dropped = 0, Agent = {} }) => ({
    ...{ sequence: Sequence, age_ms: AgeMs, duration_ms: DurationMs, dropped: Dropped, agent: Agent },
  }));
  const devices = Samples.flatMap(({ Sequence, Devices }) =>
    Devices.map((one) => ({
      ...{ sequence: Sequence, id: one.UUID.toLowerCase(), frames: one.Frames, errors: one.Errors },
      ...{ p50: one.LatencyP50 ?? null, p95: one.LatencyP95 ?? null, pipelines: one.Pipelines },
      ...{ dropped: one.Dropped ?? null, queue_depth: one.QueueDepth ?? null },
      detections: Math.min(
        2_000_000_000,
        one.Pipelines.reduce((sum, { Detections }) => sum + Detections, 0),
      ),
      inferences: one.Pipelines.reduce((sum, { Frames, Inferences = Frames }) => sum + Inferences, 0),
    })),
  );
  const { rows } = await sql<{ accepted: number }>`
    with given as (
      select *, date_trunc('milliseconds', now() - age_ms * interval '1 millisecond') as ended_at
      from jsonb_to_recordset(${JSON.stringify(samples)}::jsonb)
        as s (sequence bigint, age_ms float8, duration_ms float8, dropped int, agent jsonb)
      where age_ms < ${bounds.telemetryHours * 3_600_000}::float8
    ), kept as (
      insert into server_telemetry (server_id, sequence, slot, started_at, ended_at, dropped, agent)
      select ${server.id}, sequence, floor(extract(epoch from ended_at) * 1000 / ${bounds.telemetryEveryMs}::int),
        ended_at - least(duration_ms, 86400000) * interval '1 millisecond', ended_at, dropped, agent
      from given order by sequence
      on conflict do nothing returning sequence, started_at, ended_at
    ), told as (
      insert into device_telemetry (device_id, sequence, started_at, ended_at, frames, errors, detections,
        latency_p50, latency_p95, pipelines, inferences, dropped, queue_depth)
      select d.id, kept.sequence, kept.started_at, kept.ended_at, s.frames, s.errors, s.detections, s.p50, s.p95, s.pipelines,
        s.inferences, s.dropped, s.queue_depth
      from kept join jsonb_to_recordset(${JSON.stringify(devices)}::jsonb)
        as s (sequence bigint, id uuid, frames int, errors int, detections int, p50 real, p95 real, pipelines jsonb,
          inferences bigint, dropped int, queue_depth int)
        on s.sequence = kept.sequence
      join devices d on d.id = s.id and d.server_id = ${server.id}
      on conflict do nothing returning inferences
    ), counted as (
      insert into server_inferences as i (server_id, counted)
      select ${server.id}, least(sum(inferences), ${COUNTED_MAX}) from told having sum(inferences) > 0
      on conflict (server_id) do update set counted = least(i.counted + excluded.counted, ${COUNTED_MAX})
    )
    select count(*)::int as accepted from kept`.execute(db.run);
  return { status: 200, body: { Accepted: rows[0]!.accepted } };
}

const within = ({ From, To }: { From?: string | undefined; To?: string | undefined }) => sql`
  (${From ?? null}::timestamptz is null or ended_at >= ${From ?? null}::timestamptz)
  and (${To ?? null}::timestamptz is null or ended_at < ${To ?? null}::timestamptz)`;
const ORDERS = { To: "ended_at" };

interface Span {
  sequence: number;
  started_at: Date;
  ended_at: Date;
}

/** A page of one table's samples of whose they are, each with what `view` makes of the rest of its row. */
async function listed<Row>(
  db: Db,
  query: Parameters<typeof pageOf>[0] & Parameters<typeof within>[0],
  [table, owner, id]: ["device_telemetry", "device_id", string] | ["server_telemetry", "server_id", string],
  view: (row: Row & Span) => object,
  besides = sql``,
): Promise<Answer> {
  const page = pageOf(query, ORDERS, "-To", "sequence");
  const found = sql`from ${sql.table(table)} where ${sql.ref(owner)} = ${id} and ${within(query)}`;
  const { rows } = await sql<Row & Span>`
    select * ${besides} ${found} order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(
    db,
  );
  const { rows: counted } = await sql<{ n: number }>`select count(*)::int as n ${found}`.execute(db);
  const body = rows.map((row) => ({
    ...{ Sequence: row.sequence, From: row.started_at.toISOString(), To: row.ended_at.toISOString() },
    ...view(row),
  }));
  return paged(body, counted[0]!.n);
}

interface DeviceSample {
  frames: number;
  errors: number;
  detections: number;
  inferences: number | null;
  dropped: number | null;
  queue_depth: number | null;
  latency_p50: number | null;
  latency_p95: number | null;
  pipelines: unknown[];
  agent: Partial<Record<"CPUPercent" | "MemoryMiB" | "Temperature", number>> | null;
}

export async function ofDevice(
  { db }: Pick<DevicesDeps, "db">,
  call: Call<typeof contract.listDeviceTelemetry>,
): Promise<Answer> {
  const { id, server_id: server } = await requireDevice(db.soft, call.actor.party.id, call.params.id);
  const view = ({ agent, ...row }: DeviceSample) => ({
    ...{ Frames: row.frames, Errors: row.errors, Detections: row.detections, Inferences: row.inferences },
    ...{ Dropped: row.dropped, QueueDepth: row.queue_depth },
    ...{ LatencyP50: row.latency_p50, LatencyP95: row.latency_p95 },
    ...{ CPU: agent?.CPUPercent ?? null, Memory: agent?.MemoryMiB ?? null },
    ...{ Temperature: agent?.Temperature ?? null, Pipelines: row.pipelines },
  });
  const agent = sql`, (select s.agent from server_telemetry s
    where s.server_id = ${server} and s.sequence = device_telemetry.sequence) as agent`;
  return listed<DeviceSample>(db.soft, call.query, ["device_telemetry", "device_id", id], view, agent);
}

interface ServerSample {
  received_at: Date;
  dropped: number;
  agent: object;
}

export async function ofServer(
  { db }: Pick<DevicesDeps, "db">,
  call: Call<typeof contract.listServerTelemetry>,
): Promise<Answer> {
  const { id } = await requireServer(db.soft, call.actor.party.id, call.params.id);
  return listed<ServerSample>(db.soft, call.query, ["server_telemetry", "server_id", id], (row) => ({
    ...{ ReceivedAt: row.received_at.toISOString(), Dropped: row.dropped, Agent: row.agent },
  }));
}

/** What is older than is kept, and what servers that are gone had counted. */
export async function forgetTelemetry({ db }: Pick<DevicesDeps, "db">, hours: number): Promise<void> {
  for (const table of ["server_telemetry", "device_telemetry"])
    await sql`
      delete from ${sql.table(table)} where ended_at < now() - make_interval(hours => ${hours}::int)`.execute(
      db.soft,
    );
  await sql`
    delete from server_inferences i where not exists (select from servers sv where sv.id = i.server_id)`.execute(
    db.soft,
  );
}
