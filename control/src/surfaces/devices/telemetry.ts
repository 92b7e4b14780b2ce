// SPDX-License-Identifier: Apache-2.0
/**
 * What servers count, kept for a while.
 *
 *  A. A server that tells the same twice, since the answer was lost, is known by its number.
 *  B. Whoever holds a server's key could tell as much as it likes, about any time. One row is kept for each
 *     interval, none from the future and none older than is kept: rows are bounded by time alone.
 *  C. A server tells of its own devices, and of no others.
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
      detections: Math.min(
        2_000_000_000,
        one.Pipelines.reduce((sum, { Detections }) => sum + Detections, 0),
      ),
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
        latency_p50, latency_p95, pipelines)
      select d.id, kept.sequence, kept.started_at, kept.ended_at, s.frames, s.errors, s.detections, s.p50, s.p95, s.pipelines
      from kept join jsonb_to_recordset(${JSON.stringify(devices)}::jsonb)
        as s (sequence bigint, id uuid, frames int, errors int, detections int, p50 real, p95 real, pipelines jsonb)
        on s.sequence = kept.sequence
      join devices d on d.id = s.id and d.server_id = ${server.id}
      on conflict do nothing
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
): Promise<Answer> {
  const page = pageOf(query, ORDERS, "-To", "sequence");
  const found = sql`from ${sql.table(table)} where ${sql.ref(owner)} = ${id} and ${within(query)}`;
  const { rows } = await sql<Row & Span>`
    select * ${found} order by ${page.order} limit ${page.limit} offset ${page.offset}`.execute(db);
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
  latency_p50: number | null;
  latency_p95: number | null;
  pipelines: unknown[];
}

export async function ofDevice(
  { db }: Pick<DevicesDeps, "db">,
  call: Call<typeof contract.listDeviceTelemetry>,
): Promise<Answer> {
  const { id } = await requireDevice(db.soft, call.actor.party.id, call.params.id);
  return listed<DeviceSample>(db.soft, call.query, ["device_telemetry", "device_id", id], (row) => ({
    ...{ Frames: row.frames, Errors: row.errors, Detections: row.detections },
    ...{ LatencyP50: row.latency_p50, LatencyP95: row.latency_p95, Pipelines: row.pipelines },
  }));
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

/** What is older than is kept. */
export async function forgetTelemetry({ db }: Pick<DevicesDeps, "db">, hours: number): Promise<void> {
  for (const table of ["server_telemetry", "device_telemetry"])
    await sql`
      delete from ${sql.table(table)} where ended_at < now() - make_interval(hours => ${hours}::int)`.execute(
      db.soft,
    );
}
