// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import {
  type Caller,
  callerOf,
  type Installation,
  startInstallation,
  type Tenant,
} from "#testing/installation.ts";
import { forgetTelemetry } from "./telemetry.ts";

const EVERY_MS = 1000;
let casemate: Installation;
let acme: Caller & Tenant;
let stranger: Caller & Tenant;
beforeAll(async () => {
  const devices = { telemetryEveryMs: EVERY_MS, telemetryHours: 24 };
  casemate = await startInstallation({
    ...{ withHost: false, config: { identity: { requestsPerMinute: null }, devices } },
  });
  [acme, stranger] = await Promise.all([casemate.tenant("acme"), casemate.tenant("stranger")]);
});
afterAll(() => casemate[Symbol.asyncDispose]());

let site: string;
let server: string;
let edge: Caller;
let device: string;
const enrol = async () => {
  const RegistrationToken = (await acme("POST", "/dev/registration-tokens", { SystemId: site })).body.Token;
  const asked = { ServerId: randomUUID(), SystemId: site, RegistrationToken };
  const { Key } = (await casemate.anyone("POST", "/dev/plugin/register", asked)).body;
  return { id: asked.ServerId, call: callerOf(casemate.url, Key) };
};
beforeEach(async () => {
  site = (await acme("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
  const { id, call } = await enrol();
  [server, edge] = [id, call];
  device = (await acme("POST", "/dev/devices", { Name: "Gate", Server: server })).body.UUID;
});

const sample = (Sequence: number, AgeMs: number, change: object = {}) => ({
  ...{ Sequence, AgeMs, DurationMs: EVERY_MS, Agent: { MemoryMiB: 100 + Sequence } },
  Devices: [{ UUID: device, Frames: Sequence, Errors: 0, LatencyP50: 1.5, LatencyP95: 9, Pipelines: [] }],
  ...change,
});
const tell = (...Samples: object[]) => edge("POST", `/dev/server/${server}/telemetry`, { Samples });
const frames = async (query = "") =>
  (await acme("GET", `/dev/device/${device}/telemetry${query}`)).body.map(
    ({ Frames }: { Frames: number }) => Frames,
  );

it("is shown newest first, in a range of time, by pages, with how many there are", async () => {
  const told = [5, 4, 3, 2, 1].map((age, at) => sample(at + 1, age * 3_600_000));
  expect((await tell(...told)).body).toEqual({ Accepted: 5 });
  expect(await frames()).toEqual([5, 4, 3, 2, 1]);
  const page = await acme("GET", `/dev/device/${device}/telemetry?limit=2&offset=1&OrderBy=To`);
  expect(page.body.map(({ Frames }: { Frames: number }) => Frames)).toEqual([2, 3]);
  expect(page.headers.get("x-pagination-records")).toBe("5");
  const [From, To] = [4.5, 2.5].map((age) => new Date(Date.now() - age * 3_600_000).toISOString());
  expect(await frames(`?From=${From}&To=${To}`)).toEqual([3, 2]);
  const [newest] = (await acme("GET", `/dev/device/${device}/telemetry?limit=1`)).body;
  expect(newest).toMatchObject({ Sequence: 5, LatencyP50: 1.5, LatencyP95: 9, Detections: 0, Errors: 0 });
  expect(Date.parse(newest.To) - Date.parse(newest.From)).toBe(EVERY_MS);
  const [own] = (await acme("GET", `/dev/server/${server}/telemetry`)).body;
  expect(own).toMatchObject({ Sequence: 5, Dropped: 0, Agent: { MemoryMiB: 105 } });
  for (const query of ["?From=yesterday", "?OrderBy=Frames", "?limit=0", "?From=2026-13-40T00:00:00Z"])
    expect([query, (await acme("GET", `/dev/device/${device}/telemetry${query}`)).status]).toEqual([
      query,
      400,
    ]);
});

it("what is told twice is kept once, also at once, and with what came since", async () => {
  const [one, two] = [sample(1, 60_000), sample(2, 30_000)];
  const replies = await Promise.all(Array.from({ length: 6 }, () => tell(one, two)));
  expect(replies.map(({ body }) => body.Accepted).sort()).toEqual([0, 0, 0, 0, 0, 2]);
  expect((await tell(one, two, sample(3, 0))).body).toEqual({ Accepted: 1 });
  expect(await frames()).toEqual([3, 2, 1]);
});

const seen = (Frames: number, more: object = {}) => ({
  ...{ UUID: randomUUID(), Frames, Detections: 0, ...more },
});
const inferences = async (caller: Caller = acme) =>
  (await caller("GET", "/dev/devices/statistics")).body.Inferences as number;

it("runs of models are counted once each, of what is kept and of nothing else, and stay when it is forgotten", async () => {
  const before = await inferences();
  const ran = (Sequence: number, AgeMs: number, ...Pipelines: object[]) =>
    sample(Sequence, AgeMs, { Devices: [{ UUID: device, Frames: 9, Errors: 0, Pipelines }] });
  const first = ran(1, 60_000, seen(5), seen(7, { Inferences: 20 }));
  await Promise.all([tell(first), tell(first), tell(first)]);
  expect((await inferences()) - before).toBe(25);
  // Twice in one sample, in an interval that is taken, too old, and of another server's device.
  const both = [3, 4].map((frames) => ({ UUID: device, Frames: 1, Errors: 0, Pipelines: [seen(frames)] }));
  const twice = sample(2, 30_000, { Devices: both });
  await tell(twice, ran(3, 30_000, seen(100)), ran(4, 25 * 3_600_000, seen(100)));
  expect([28, 29]).toContain((await inferences()) - before);
  const after = await inferences();
  const other = await enrol();
  await other.call("POST", `/dev/server/${other.id}/telemetry`, { Samples: [ran(1, 0, seen(100))] });
  expect(await inferences()).toBe(after);
  expect(await inferences(stranger)).toBe(0);
  await forgetTelemetry(casemate.control, 0);
  expect([await inferences(), await frames()]).toEqual([after, []]);
});

it("of a server that is put out nothing is counted, and nothing is left", async () => {
  const before = await inferences();
  await tell(sample(1, 0, { Devices: [{ UUID: device, Frames: 1, Errors: 0, Pipelines: [seen(3)] }] }));
  expect(await inferences()).toBe(before + 3);
  await acme("DELETE", `/dev/server/${server}`);
  expect(await inferences()).toBe(before);
  await forgetTelemetry(casemate.control, 24);
  const { rows } = await sql`select from server_inferences where server_id = ${server}`.execute(
    casemate.control.db.run,
  );
  expect(rows).toEqual([]);
});

it("a server that says it ran more than there are numbers makes no figure that is none", async () => {
  const before = await inferences();
  const Pipelines = Array.from({ length: 16 }, () => seen(1, { Inferences: 1_000_000_000 }));
  const mad = (Sequence: number) =>
    sample(Sequence, Sequence * EVERY_MS, { Devices: [{ UUID: device, Frames: 1, Errors: 0, Pipelines }] });
  await tell(mad(1), mad(2));
  expect((await inferences()) - before).toBe(32_000_000_000);
  await sql`update server_inferences set counted = ${Number.MAX_SAFE_INTEGER - 1} where server_id = ${server}`.execute(
    casemate.control.db.run,
  );
  await tell(mad(3));
  const { rows } = await sql`select counted from server_inferences where server_id = ${server}`.execute(
    casemate.control.db.run,
  );
  expect(rows).toEqual([{ counted: Number.MAX_SAFE_INTEGER }]);
  expect(await inferences()).toBe(Number.MAX_SAFE_INTEGER);
});

it("shows of a device what waited and what was given up, and how its server was; what was not measured is null", async () => {
  const Agent = { CPUPercent: 42.5, MemoryMiB: 300, Temperature: 61.25 };
  const figures = { UUID: device, Frames: 4, Errors: 1, Dropped: 2, QueueDepth: 3 };
  await tell(
    sample(1, 60_000, { Agent: {} }),
    sample(2, 0, { Agent, Devices: [{ ...figures, Pipelines: [seen(3)] }] }),
  );
  const [newest, oldest] = (await acme("GET", `/dev/device/${device}/telemetry`)).body;
  expect(newest).toMatchObject({
    ...{ Frames: 4, Errors: 1, Dropped: 2, QueueDepth: 3, Inferences: 3 },
    ...{ CPU: 42.5, Memory: 300, Temperature: 61.25 },
  });
  expect(oldest).toMatchObject({
    ...{ Dropped: null, QueueDepth: null, Inferences: 0, CPU: null, Memory: null, Temperature: null },
  });
  expect((await acme("GET", `/dev/server/${server}/telemetry?limit=1`)).body[0].Agent).toEqual(Agent);
  expect((await tell(sample(3, 0, { Agent: { Temperature: 1e6 } }))).status).toBe(400);
});

it("a server that tells more than one sample for an interval fills no table with it", async () => {
  const many = Array.from({ length: 60 }, (_, at) => sample(at, 600_000 + at));
  const { Accepted } = (await tell(...many)).body;
  // Sixty milliseconds are of one interval, or of two.
  expect([1, 2]).toContain(Accepted);
  expect(await frames()).toHaveLength(Accepted);
  expect((await tell(sample(100, 25 * 3_600_000), sample(101, 1e12))).body).toEqual({ Accepted: 0 });
  expect((await tell(sample(102, 0, { DurationMs: 1e12 }))).body).toEqual({ Accepted: 1 });
});

it("a server tells of its own devices only, and nobody else tells for it", async () => {
  const other = await enrol();
  const path = `/dev/server/${other.id}/telemetry`;
  expect((await other.call("POST", path, { Samples: [sample(1, 0)] })).body).toEqual({ Accepted: 1 });
  expect(await frames()).toEqual([]);
  expect((await edge("POST", path, { Samples: [] })).status).toBe(404);
  expect((await acme("POST", path, { Samples: [] })).status).toBe(401);
  for (const what of [`device/${device}`, `server/${server}`]) {
    expect((await stranger("GET", `/dev/${what}/telemetry`)).status).toBe(404);
    expect((await edge("GET", `/dev/${what}/telemetry`)).status).toBe(401);
  }
});

it("what is no sample is refused whole", async () => {
  const bad = [
    { Sequence: -1 },
    { AgeMs: -1 },
    { Devices: [{ UUID: device, Frames: 1, Errors: 0 }] },
    { Devices: [{ UUID: "x", Frames: 1, Errors: 0, Pipelines: [] }] },
    { Agent: { Secret: "x" } },
  ];
  for (const change of bad) expect((await tell(sample(1, 0), sample(2, 60_000, change))).status).toBe(400);
  expect((await tell(...Array.from({ length: 61 }, (_, at) => sample(at, at)))).status).toBe(400);
  expect(await frames()).toEqual([]);
});

it("is forgotten when its time is over", async () => {
  await tell(sample(1, 23 * 3_600_000), sample(2, 60_000));
  await forgetTelemetry(casemate.control, 22);
  expect(await frames()).toEqual([2]);
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from server_telemetry where server_id = ${server}`.execute(
    casemate.control.db.run,
  );
  expect(rows).toEqual([{ n: 1 }]);
});
