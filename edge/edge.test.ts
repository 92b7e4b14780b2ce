// SPDX-License-Identifier: Apache-2.0
/** The agent as a process of its own, with models that were really converted, on pictures that were really drawn. */
import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { userNamespaces } from "../control/src/core/models/testing.ts";
import { deltaOf } from "../control/src/surfaces/devices/delta.ts";
import { sendForm, settledFunction, upload } from "../control/src/surfaces/models/testing.ts";
import { prepareImage } from "../models/image.ts";
import { meaningOf } from "../models/meaning.ts";
import { brittle, detector } from "../models/testing.ts";
import { type Caller, type Installation, startInstallation, type Tenant } from "../testing/installation.ts";
import { describeWith } from "../testing/requirements.ts";

const MAIN = new URL("./main.ts", import.meta.url).pathname;

interface Line {
  Device: string;
  Frame: string;
  Found: {
    Name: string;
    Detections: { Class: string; Score: number; Box: number[] }[];
    Chains: Line["Found"];
  }[];
}

// Waits have an end of their own; a machine with much to do takes its time.
vi.setConfig({ testTimeout: 240_000 });

describeWith([userNamespaces], "the edge agent", () => {
  let casemate: Installation;
  let acme: Caller & Tenant;
  let model: string;
  let bad: string;
  let folder: string;
  let pictures: string;
  let agents: ChildProcess[];
  let path: string | undefined;
  beforeAll(async () => {
    casemate = await startInstallation({
      withHost: false,
      config: {
        identity: { requestsPerMinute: null },
        devices: { rolloutEveryMs: 200, telemetryEveryMs: 100 },
      },
    });
    acme = await casemate.tenant("acme");
    const details = { InputDriverDetails: { means: [10, 20, 30], vars: [2, 2, 2], order: 0 } };
    const made = await upload(casemate.url, acme, detector(), { Name: "Things", ...details });
    const other = await upload(casemate.url, acme, brittle(), { Name: "Brittle" });
    [model, bad] = [made.UUID, other.UUID];
    for (const each of [model, bad]) expect((await settledFunction(acme, each)).Status).toBe("ok");
  });
  afterAll(() => casemate[Symbol.asyncDispose]());

  beforeEach(async () => {
    agents = [];
    path = process.env.PATH;
    folder = mkdtempSync(join(tmpdir(), "casemate-edge-"));
    pictures = join(folder, "pictures");
    mkdirSync(pictures);
    for (const [at, background] of ["#a03010", "#10c040", "#2030f0"].entries())
      await sharp({ create: { width: 100 + at * 60, height: 90, channels: 3, background } })
        .png()
        .toFile(join(pictures, `${at}.png`));
  });
  afterEach(async () => {
    for (const agent of agents) {
      agent.kill("SIGKILL");
      if (agent.exitCode === null && agent.signalCode === null)
        await new Promise((end) => agent.once("close", end));
    }
    rmSync(folder, { recursive: true, force: true });
  });

  function start(args: string[], state = join(folder, "state")) {
    const child = spawn(process.execPath, [MAIN, "--state", state, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, PATH: path },
    });
    agents.push(child);
    const said = { lines: [] as Line[], words: "" };
    let rest = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const parts = (rest + text).split("\n");
      rest = parts.pop()!;
      said.lines.push(...parts.map((part) => JSON.parse(part) as Line));
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (said.words += text));
    const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
    return { child, said, ended };
  }

  /** A server with one device that is switched on. */
  async function atWork(args: string[], url = casemate.url, state = join(folder, "state")) {
    const site = (await acme("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
    const token = (await acme("POST", "/dev/registration-tokens", { SystemId: site })).body.Token;
    const agent = start(["--url", url, "--site", site, "--token", token, ...args], state);
    const heard = async () => (await acme("GET", `/dev/system/${site}/servers`)).body[0];
    await vi.waitUntil(async () => (await heard())?.Status === "online", { timeout: 90_000, interval: 100 });
    const server = (await heard()).ID;
    const made = { Name: "Gate", Server: server, Active: true };
    const device = (await acme("POST", "/dev/devices", made)).body.UUID;
    return { ...agent, server, device };
  }
  const give = async (device: string, pipelines: object[]) => {
    const reply = await acme("PUT", `/dev/device/${device}/pipelines`, pipelines);
    expect([reply.status, reply.body.Message]).toEqual([200, undefined]);
  };
  const serverIs = (id: string, state: object) =>
    vi.waitFor(async () => expect((await acme("GET", `/dev/server/${id}`)).body).toMatchObject(state), {
      timeout: 90_000,
      interval: 200,
    });

  it("finds in pictures what the model finds by itself", async () => {
    const { device, said, ended, child } = await atWork(["--frames", pictures, "--fps", "100"]);
    await give(device, [{ modelUUID: model, Classes: ["Green", "Blue"], resizingMethod: "Letterbox" }]);
    await vi.waitUntil(() => said.lines.filter(({ Found }) => Found.length > 0).length >= 6, {
      timeout: 90_000,
    });
    child.kill("SIGTERM");
    expect(await ended).toBe(0);

    const session = await InferenceSession.create(detector() as never);
    for (const name of readdirSync(pictures)) {
      const options = { mean: [10, 20, 30], scale: [2, 2, 2], order: 0, resize: "Letterbox" as const };
      const picture = readFileSync(join(pictures, name));
      const prepared = await prepareImage(picture, { height: 32, width: 32, channels: 3 }, options);
      const feeds = { "image-": new Tensor("float32", prepared.values, [1, 3, 32, 32]) };
      const [output, tensor] = Object.entries(await session.run(feeds))[0]!;
      const bare = meaningOf(output, tensor as never, 1e-6, prepared.geometry).filter(({ Class }) =>
        ["Green", "Blue"].includes(Class),
      );
      const line = said.lines.findLast(({ Frame, Found }) => Frame === name && Found.length > 0)!;
      expect(line.Device).toBe(device);
      expect(line.Found[0]!.Detections.length).toBe(bare.length);
      for (const [at, one] of line.Found[0]!.Detections.entries()) {
        expect(one.Class).toBe(bare[at]!.Class);
        expect(one.Score).toBeCloseTo(bare[at]!.Score, 3);
        expect(one.Box).toEqual(bare[at]!.Box);
      }
      expect(bare.length).toBeGreaterThan(0);
    }
  });

  it("a wish that fails its trial changes nothing, is told of, and the next good one runs", async () => {
    const { device, server, said } = await atWork(["--frames", pictures, "--fps", "20"]);
    await give(device, [{ modelUUID: model, Name: "good" }]);
    await serverIs(server, { Health: "ok", ReportedVersion: 3 });
    await give(device, [{ modelUUID: bad, Name: "bad" }]);
    await serverIs(server, { Health: "degraded", ReportedVersion: 3, DesiredVersion: 4 });
    const { Errors } = (await acme("GET", `/dev/server/${server}`)).body;
    expect(Errors[0]).toContain("Gather");
    const before = said.lines.length;
    await vi.waitUntil(() => said.lines.length > before + 5, { timeout: 90_000 });
    expect(said.lines.at(-1)!.Found.map(({ Name }) => Name)).toEqual(["good"]);
    await acme("POST", `/dev/device/${device}/pipelines/rollback`, { Version: 1 });
    await serverIs(server, { Health: "ok", ReportedVersion: 5, Errors: [] });
  });

  it("a version that fails its trial is taken back by its rollout, and the second device never had it", async () => {
    const { UUID } = await upload(casemate.url, acme, detector(), {
      ...{ Name: "Staged", EnableConversions: ["application/x-onnx"] },
    });
    expect((await settledFunction(acme, UUID)).Status).toBe("ok");
    const file = { name: "model.onnx", bytes: brittle() };
    await sendForm(casemate.url, acme.key, "PATCH", `/cpt/function/${UUID}`, { data: {}, file });
    expect(await settledFunction(acme, UUID)).toMatchObject({ Status: "ok", Version: 2 });
    const both = [
      await atWork(["--frames", pictures, "--fps", "20"]),
      await atWork(["--frames", pictures, "--fps", "20"], casemate.url, join(folder, "second")),
    ];
    for (const { device, server } of both) {
      await give(device, [{ modelUUID: UUID, modelVersion: 1, Name: "staged" }]);
      await serverIs(server, { Health: "ok", ReportedVersion: 3 });
    }
    const Stages = [
      { Count: 1, HoldSeconds: 0 },
      { Percent: 100, HoldSeconds: 0 },
    ];
    const roll = (Version: number) =>
      acme("POST", "/dev/rollouts", {
        ...{ Function: UUID, Version, Stages, Target: { Devices: both.map(({ device }) => device) } },
      });
    const { UUID: bad } = (await roll(2)).body;
    const is = (id: string, state: object) =>
      vi.waitFor(async () => expect((await acme("GET", `/dev/rollout/${id}`)).body).toMatchObject(state), {
        timeout: 60_000,
        interval: 200,
      });
    await is(bad, {
      Status: "rolled_back",
      Reason: "1 devices failed",
      Counts: { Queued: 1, RolledBack: 1 },
    });
    const [first, second] = (await acme("GET", `/dev/rollout/${bad}/devices`)).body;
    expect(first).toMatchObject({
      Status: "failed",
      Rollback: "done",
      Error: expect.stringContaining("Gather"),
    });
    expect(second).toMatchObject({ Status: "queued", Version: null });
    await serverIs(both[0]!.server, { Health: "ok", Errors: [] });
    await serverIs(both[1]!.server, { Health: "ok", ReportedVersion: 3, DesiredVersion: 3 });
    const notes = async ({ device }: { device: string }) =>
      (await acme("GET", `/dev/device/${device}/pipelines/history`)).body.map(
        (each: { Note: string }) => each.Note,
      );
    expect(await notes(both[1]!)).toEqual(["replaced"]);
    expect(await notes(both[0]!)).toEqual([
      `rolled back to 1 by rollout ${bad}`,
      `rollout ${bad}`,
      "replaced",
    ]);
    // Both still find things, as they did all the time.
    for (const { said } of both) {
      const before = said.lines.length;
      await vi.waitUntil(() => said.lines.length > before + 3, { timeout: 90_000 });
      expect(said.lines.at(-1)!.Found.map(({ Name }) => Name)).toEqual(["staged"]);
    }
  });

  it("tells what it counted, of each device and pipeline and of itself", async () => {
    const { device, server, said, child, ended } = await atWork([
      ...["--frames", pictures, "--fps", "20", "--telemetry", "0.4"],
    ]);
    await give(device, [{ modelUUID: model, Name: "first" }]);
    const [{ UUID }] = (await acme("GET", `/dev/device/${device}/pipelines`)).body;
    const samples = async (path: string) => (await acme("GET", `/dev/${path}/telemetry?limit=500`)).body;
    const counted = async () =>
      (await samples(`device/${device}`)).filter((each: { Frames: number }) => each.Frames > 0);
    await vi.waitUntil(async () => (await counted()).length >= 2, { timeout: 90_000, interval: 200 });
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
    // The last of it is told at the end; pictures that were on their way then may be in one and not in the other.
    const all = await counted();
    const sum = all.reduce((so: number, { Frames }: { Frames: number }) => so + Frames, 0);
    expect(Math.abs(said.lines.length - sum)).toBeLessThanOrEqual(3);
    const [newest] = all;
    expect(newest).toMatchObject({
      ...{ Errors: 0, Pipelines: [{ UUID, Frames: newest.Frames, Inferences: newest.Frames }] },
      ...{ Inferences: newest.Frames, Dropped: 0, QueueDepth: 0, Memory: expect.any(Number) },
    });
    expect((await acme("GET", "/dev/devices/statistics")).body.Inferences).toBeGreaterThanOrEqual(sum);
    expect(newest.Detections).toBeGreaterThan(0);
    expect(newest.LatencyP95).toBeGreaterThanOrEqual(newest.LatencyP50);
    expect((await samples(`server/${server}`))[0]).toMatchObject({
      Dropped: 0,
      Agent: { MemoryMiB: expect.any(Number) },
    });
  });

  it("tells figures as its owner says, whatever it was started with, and lacks nothing of what it is to do", async () => {
    const state = join(folder, "state");
    const args = ["--frames", pictures, "--fps", "20", "--telemetry", "0"];
    const { device, server } = await atWork(args, casemate.url, state);
    await give(device, [{ modelUUID: model, Name: "first" }]);
    const Settings = { TelemetrySeconds: 1 };
    await acme("PATCH", `/dev/server/${server}`, { Settings });
    const samples = async () => (await acme("GET", `/dev/device/${device}/telemetry?limit=500`)).body.length;
    await vi.waitUntil(async () => (await samples()) > 1, { timeout: 90_000, interval: 200 });
    const { rows } = await sql<{ id: string; runtime_wanted: null; settings: object; reported: never }>`
      select * from servers where id = ${server}`.execute(casemate.control.db.run);
    expect(rows[0]).toMatchObject({ settings: Settings, reported: { Settings } });
    expect(await deltaOf(casemate.control.db.run, rows[0]!, rows[0]!.reported)).toEqual({});
  }, 180_000);

  it("works on while the control plane is away, also when it is started then, and catches up", async () => {
    const door = await openDoor(new URL(casemate.url).port);
    const { device, server, said, child, ended } = await atWork(
      ["--frames", pictures, "--fps", "20"],
      `http://127.0.0.1:${door.port}`,
    );
    await give(device, [{ modelUUID: model, Name: "first" }]);
    await serverIs(server, { ReportedVersion: 3 });
    await door.shut();
    await give(device, [{ modelUUID: model, Name: "second" }]);
    const before = said.lines.length;
    await vi.waitUntil(() => said.lines.length > before + 5, { timeout: 90_000 });
    child.kill("SIGKILL");
    await ended;
    const again = start(["--frames", pictures, "--fps", "20"]);
    await vi.waitUntil(() => again.said.lines.length > 3, { timeout: 90_000 });
    expect(again.said.lines[0]!.Found[0]!.Name).toBe("first");
    await door.open();
    await vi.waitUntil(() => again.said.lines.at(-1)?.Found[0]?.Name === "second", { timeout: 90_000 });
    await door.shut();
  });

  it("a wish whose bytes cannot be had for a while has not failed, and runs when they can", async () => {
    let broken = true;
    const door = await openDoor(new URL(casemate.url).port, (text) => broken && text.includes("/artifact/"));
    const { device, server, said } = await atWork(
      ["--frames", pictures, "--fps", "20"],
      `http://127.0.0.1:${door.port}`,
    );
    await give(device, [{ modelUUID: model, Name: "first" }]);
    await vi.waitUntil(() => said.words.includes("is away"), { timeout: 40_000 });
    expect((await acme("GET", `/dev/server/${server}`)).body).toMatchObject({ Health: "ok", Errors: [] });
    broken = false;
    await serverIs(server, { Health: "ok", ReportedVersion: 3 });
    expect(said.words).not.toContain("goes on as before");
    await door.shut();
  });

  it("is refused by a wrong word, and says what it needs when it is in no site", async () => {
    const site = (await acme("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
    const refused = start(["--url", casemate.url, "--site", site, "--token", "cm_site_wrong"]);
    expect(await refused.ended).toBe(1);
    expect(refused.said.words).toContain("lets nobody in");
    const alone = start(["--frames", pictures]);
    expect(await alone.ended).toBe(2);
    expect(alone.said.words).toContain("--url and --token");
  });

  /** What runs models for an agent: the one that the kernel would call, behind all its wrappers. */
  const runnersOf = (pid: number): number[] =>
    readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
      .split(" ")
      .filter((each) => each.trim() !== "")
      .flatMap((each) => {
        const below = runnersOf(Number(each));
        return below.length > 0 ? below : [Number(each)];
      });

  it("a process that runs models has its models and nothing else; one that dies is started again", async () => {
    const { device, server, said, child } = await atWork(["--frames", pictures, "--fps", "20"]);
    await give(device, [{ modelUUID: model }]);
    // Nothing is on trial any more: there is one such process.
    await serverIs(server, { ReportedVersion: 3 });
    await vi.waitUntil(() => said.lines.some(({ Found }) => Found.length > 0), { timeout: 90_000 });
    const [runner] = runnersOf(child.pid!);
    const within = (path: string) => existsSync(join(`/proc/${runner}/root`, path));
    const artifacts = join(folder, "state", "artifacts");
    const names = readdirSync(artifacts);
    expect(names.map((name) => within(join(artifacts, name)))).toEqual([true]);
    expect(existsSync(join(folder, "state", "identity.json"))).toBe(true);
    expect([join(folder, "state", "identity.json"), pictures, "/etc/passwd", "/home"].map(within)).toEqual(
      Array(4).fill(false),
    );
    const networkOf = (pid: number | string) => readlinkSync(`/proc/${pid}/ns/net`);
    expect(networkOf(runner!)).not.toBe(networkOf("self"));
    expect(readFileSync(`/proc/${runner}/status`, "utf8")).toMatch(/^Seccomp:\t2$/m);
    expect(said.words).not.toContain("with all that this user may");

    process.kill(runner!, "SIGKILL");
    const before = said.lines.length;
    await vi.waitUntil(() => said.lines.length > before + 5, { timeout: 90_000 });
    await vi.waitUntil(() => said.words.includes("the process that runs models ended"), { timeout: 10_000 });
  });

  it("says plainly that models have all that it has where there are no walls, and works", async () => {
    const programs = join(folder, "programs");
    mkdirSync(programs);
    const refusing = "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n";
    writeFileSync(join(programs, "bwrap"), refusing, { mode: 0o755 });
    path = `${programs}:${process.env.PATH}`;
    const { device, said } = await atWork(["--frames", pictures, "--fps", "20"]);
    await give(device, [{ modelUUID: model }]);
    await vi.waitUntil(() => said.lines.some(({ Found }) => Found.length > 0), { timeout: 90_000 });
    expect(said.words).toContain("models run with all that this user may: bwrap: No permissions");
  });

  it("what a device keeps is read by nobody else", async () => {
    const state = join(folder, "kept");
    const { Folder } = await import("./folder.ts");
    new Folder(state).keepIdentity({ url: "http://127.0.0.1", serverId: "a", systemId: "b", key: "c" });
    writeFileSync(join(state, "artifacts", "0".repeat(64)), "x");
    new Folder(state).keepOnly([]);
    expect(readdirSync(join(state, "artifacts"))).toEqual([]);
    const { statSync } = await import("node:fs");
    expect(statSync(join(state, "identity.json")).mode & 0o777).toBe(0o600);
  });
});

/** A way to the control plane that can be shut, and breaks off whoever says what spoils it. */
async function openDoor(target: string, spoils: (text: string) => boolean = () => false) {
  const sockets = new Set<Socket>();
  let server: Server;
  let port = 0;
  const open = () =>
    new Promise<void>((resolve) => {
      server = createServer((from) => {
        const to = createConnection(Number(target), "127.0.0.1");
        for (const each of [from, to]) {
          sockets.add(each);
          each.on("error", () => {}).on("close", () => sockets.delete(each));
        }
        from.on("data", (part: Buffer) => {
          if (spoils(part.toString("latin1"))) from.destroy();
        });
        from.pipe(to).pipe(from);
      });
      server.listen(port, "127.0.0.1", () => {
        port = (server.address() as { port: number }).port;
        resolve();
      });
    });
  await open();
  return {
    port,
    open,
    shut: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
