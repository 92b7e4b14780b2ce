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
