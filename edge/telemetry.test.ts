// SPDX-License-Identifier: Apache-2.0
/** What is counted, and that it comes over whole and once, whatever becomes of the way. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Client } from "./client.ts";
import { Figures } from "./figures.ts";
import { Folder } from "./folder.ts";
import { Telemetry } from "./telemetry.ts";

const DEVICE = "11111111-1111-4111-8111-111111111111";
const PIPELINE = "22222222-2222-4222-8222-222222222222";
const device = { UUID: DEVICE, Pipelines: [{ UUID: PIPELINE }] } as never;
const found = (detections: number, chained = 0) => ({
  ...{ Pipeline: "what a runner says", Name: "x" },
  Detections: Array.from({ length: detections }, () => ({ Class: "a", Score: 1, Box: [] })),
  Chains:
    chained === 0
      ? []
      : [{ Pipeline: "y", Name: "y", Detections: [{ Class: "b", Score: 1, Box: [] }], Chains: [] }],
});

it("counts frames, errors and findings of chains too, and says the middle and the slowest of a hundred", () => {
  const figures = new Figures();
  for (let ms = 1; ms <= 100; ms++)
    figures.note(device, { found: [found(2, 1)], eachMs: [ms], tookMs: ms * 2 });
  figures.note(device, null);
  expect(figures.take()).toEqual([
    {
      ...{
        UUID: DEVICE,
        Frames: 101,
        Errors: 1,
        Dropped: 0,
        QueueDepth: 0,
        LatencyP50: 102,
        LatencyP95: 192,
      },
      Pipelines: [
        {
          ...{ UUID: PIPELINE, Frames: 100, Detections: 300, Inferences: 200 },
          ...{ LatencyP50: 51, LatencyP95: 96 },
        },
      ],
    },
  ]);
  expect(figures.take()).toEqual([]);
});

it("a runner that says what it likes makes no figures that are refused, and no more of them", () => {
  const figures = new Figures();
  const mad = { found: [found(1), found(1), found(1)], eachMs: [-5, 7], tookMs: 1e300 };
  for (let at = 0; at < 3000; at++) figures.note(device, mad);
  expect(figures.take()).toEqual([
    {
      ...{ UUID: DEVICE, Frames: 3000, Errors: 0, Dropped: 0, QueueDepth: 0 },
      ...{ LatencyP50: 1e6, LatencyP95: 1e6 },
      Pipelines: [
        {
          ...{ UUID: PIPELINE, Frames: 3000, Detections: 3000, Inferences: 3000 },
          ...{ LatencyP50: 0, LatencyP95: 0 },
        },
      ],
    },
  ]);
});

it("counts what was given up unseen, and the most that waited, from one sample to the next", () => {
  const figures = new Figures();
  for (const waiting of [1, 3, 2]) figures.wait(device, waiting);
  for (let at = 0; at < 5; at++) figures.drop(device);
  expect(figures.take()).toMatchObject([{ Frames: 0, Dropped: 5, QueueDepth: 3, Pipelines: [] }]);
  figures.wait(device, 0);
  expect(figures.take()).toMatchObject([{ Dropped: 0, QueueDepth: 0 }]);
});

it("how many models ran is what was found says, chained ones and each part of a picture too", () => {
  const figures = new Figures();
  const step = (...Chains: object[]) => ({ Pipeline: "p", Name: "n", Detections: [], Chains });
  const five = step(step(), step(step(), step()));
  figures.note(device, { found: [five as never], eachMs: [1], tookMs: 1 });
  expect(figures.take()).toMatchObject([{ Pipelines: [{ Frames: 1, Inferences: 5 }] }]);
});

interface Told {
  Sequence: number;
  Dropped: number;
  AgeMs: number;
  Devices: { Frames: number }[];
}

let folder: string;
let server: Server;
let told: Told[];
/** What the control plane answers; null: it takes it in, and the answer is lost. */
let answer: () => number | null;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "casemate-telemetry-"));
  told = [];
  answer = () => 200;
  server = createServer(async (request, reply) => {
    let body = "";
    for await (const part of request) body += part;
    const status = answer();
    if (status === 200 || status === null) told.push(...(JSON.parse(body).Samples as Told[]));
    if (status === null) request.socket.destroy();
    else reply.writeHead(status, { "content-type": "application/json" }).end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

function begin(figures = new Figures(), every: number | (() => number | null) = 20) {
  const everyMs = typeof every === "number" ? () => every : every;
  const stopping = new AbortController();
  const client = new Client({
    ...{ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, key: "k" },
  });
  const words: string[] = [];
  const options = { client, serverId: DEVICE, folder: new Folder(folder), figures, everyMs };
  const telemetry = new Telemetry({ ...options, say: (line) => void words.push(line) });
  const ended = telemetry.follow(stopping.signal);
  const stop = () => {
    stopping.abort();
    return ended;
  };
  return { figures, words, stop, change: () => telemetry.change() };
}

it("what could not be told, or was told and not answered, is told later under the same number", async () => {
  answer = () => 503;
  const agent = begin();
  agent.figures.note(device, null);
  await expect.poll(() => agent.words).toHaveLength(1);
  const answers: (number | null)[] = [null, null];
  answer = () => (answers.length > 0 ? answers.shift()! : 200);
  await expect.poll(() => told.length).toBeGreaterThan(8);
  await agent.stop();
  const once = new Map(told.map((one) => [one.Sequence, one]));
  expect(once.size).toBeLessThan(told.length);
  expect([...once.keys()]).toEqual(Array.from({ length: once.size }, (_, at) => at + 1));
  expect([...once.values()].flatMap(({ Devices }) => Devices).map(({ Frames }) => Frames)).toEqual([1]);
  expect(told.every(({ AgeMs, Dropped }) => AgeMs >= 0 && Dropped === 0)).toBe(true);
});

it("what was counted last is told at the end, and no number is given twice, also after a restart", async () => {
  const first = begin(new Figures(), 3_600_000);
  first.figures.note(device, null);
  await first.stop();
  expect(told).toMatchObject([{ Sequence: 1, Devices: [{ Frames: 1 }] }]);
  await begin(new Figures(), 3_600_000).stop();
  expect(told[1]!.Sequence).toBe(10_001);
});

it("what an agent that is killed could not tell is told by the next one, once", async () => {
  answer = () => 503;
  const first = begin();
  first.figures.note(device, null);
  await expect.poll(() => readdirSync(join(folder, "samples")).length).toBeGreaterThan(2);
  // As it is on the disk at some moment, which is all that a process leaves that is killed then.
  const left = mkdtempSync(join(tmpdir(), "casemate-telemetry-"));
  cpSync(folder, left, { recursive: true });
  await first.stop();
  const waiting = readdirSync(join(left, "samples"))
    .filter((name) => name.endsWith(".json"))
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b);
  rmSync(folder, { recursive: true });
  renameSync(left, folder);
  answer = () => 200;
  const next = begin(new Figures(), 3_600_000);
  await next.stop();
  expect(told.map(({ Sequence }) => Sequence)).toEqual([...waiting, 10_001]);
  expect(told.flatMap(({ Devices }) => Devices).map(({ Frames }) => Frames)).toEqual([1]);
  expect(told.every(({ AgeMs, Dropped }) => AgeMs >= 0 && AgeMs < 600_000 && Dropped === 0)).toBe(true);
  expect(readdirSync(join(folder, "samples"))).toEqual([]);
  await begin(new Figures(), 3_600_000).stop();
  expect(told).toHaveLength(waiting.length + 2);
});

it("what is on the disk and is no sample is removed and counted, and holds up nothing", async () => {
  const samples = join(folder, "samples");
  mkdirSync(samples);
  const file = (Sequence: number, more: object = {}) => ({
    sample: { Sequence, DurationMs: 1, Dropped: 0, Agent: {}, Devices: [] },
    ...{ boot: "another", uptimeS: 1, wallMs: Date.now() - 3_600_000, ...more },
  });
  for (const [name, text] of [
    ["1.json", "{"],
    ["2.json", JSON.stringify(file(3))],
    ["4.json.new", "half"],
    ["5.json", JSON.stringify(file(5))],
    ["6.json", JSON.stringify(file(6, { wallMs: Date.now() + 1e12 }))],
  ] as const)
    writeFileSync(join(samples, name), text);
  await begin(new Figures(), 3_600_000).stop();
  expect(told.map(({ Sequence, Dropped }) => [Sequence, Dropped])).toEqual([
    [5, 0],
    [6, 0],
    [1, 2],
  ]);
  // An hour by the wall clock; and where that says what cannot be, as long as the machine is up.
  expect(told[0]!.AgeMs).toBeGreaterThanOrEqual(3_600_000);
  expect(told[1]!.AgeMs).toBeGreaterThan(0);
  expect(readdirSync(samples)).toEqual([]);
});

it("where nothing can be written samples are told all the same, and that is said once", async () => {
  answer = () => 503;
  const agent = begin();
  await expect.poll(() => agent.words.length).toBe(1);
  rmSync(join(folder, "samples"), { recursive: true });
  await expect.poll(() => agent.words).toEqual([agent.words[0], expect.stringContaining("in memory only")]);
  answer = () => 200;
  await expect.poll(() => told.length).toBeGreaterThan(3);
  await agent.stop();
  expect(agent.words).toHaveLength(2);
});

it("of more than is kept the oldest goes, and is counted", async () => {
  answer = () => 503;
  // Half a megabyte each.
  const many = Array.from({ length: 16 }, (_, at) => ({ UUID: `${at}`.padStart(36, "0") }));
  const figures = new Figures();
  const fill = () => {
    for (let at = 0; at < 250; at++)
      figures.note({ UUID: `${at}`.padStart(36, "0"), Pipelines: many } as never, {
        ...{ found: many.map(() => found(1)), eachMs: many.map(() => 1.25), tookMs: 1 },
      });
  };
  const taken = figures.take.bind(figures);
  let closed = 0;
  figures.take = () => {
    fill();
    closed++;
    return taken();
  };
  const agent = begin(figures);
  await expect.poll(() => closed).toBeGreaterThan(40);
  answer = () => 200;
  await expect.poll(() => told.length).toBeGreaterThan(0);
  await agent.stop();
  const [oldest] = told;
  expect(oldest!.Dropped).toBeGreaterThan(10);
  expect(oldest!.Sequence).toBe(oldest!.Dropped + 1);
  expect(told.slice(1).every(({ Dropped }) => Dropped === 0)).toBe(true);
});

it("what is refused for ever is given up and counted; the rest is told", async () => {
  const answers = [400];
  answer = () => answers.shift() ?? 200;
  const agent = begin();
  await expect.poll(() => told.length).toBeGreaterThan(1);
  await agent.stop();
  expect(told[0]).toMatchObject({ Sequence: 2, Dropped: 1 });
});

it("an interval that is changed counts from then on, and none means that nothing is told", async () => {
  let everyMs: number | null = 3_600_000;
  const agent = begin(new Figures(), () => everyMs);
  agent.figures.note(device, null);
  everyMs = 20;
  agent.change();
  await expect.poll(() => told.length).toBeGreaterThan(1);
  everyMs = null;
  agent.change();
  // One may be on its way.
  await new Promise((resolve) => setTimeout(resolve, 100));
  const before = told.length;
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(told).toHaveLength(before);
  everyMs = 20;
  agent.change();
  await expect.poll(() => told.length).toBeGreaterThan(before);
  await agent.stop();
});
