// SPDX-License-Identifier: Apache-2.0
/** Rollouts over HTTP, with servers that speak as the edge agent does, and a model in two versions. */
import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { detector } from "#models/testing.ts";
import {
  type Caller,
  callerOf,
  type Installation,
  startInstallation,
  type Tenant,
} from "#testing/installation.ts";
import { describeWith } from "#testing/requirements.ts";
import { userNamespaces } from "../../core/models/testing.ts";
import { sendForm, settledFunction, upload } from "../models/testing.ts";

const ONE = { EnableConversions: ["application/x-onnx"] };
const EVERY_MS = 100;
const FACTS = {
  AvailableRuntimes: [{ Name: "cpu", Version: "1.30.0", Targets: ["application/x-onnx"] }],
  Supports: { Pipelines: true },
};

describeWith([userNamespaces], "rollouts", () => {
  let casemate: Installation;
  let second: Installation;
  let acme: Caller & Tenant;
  let stranger: Caller & Tenant;
  let model: string;
  let other: string;
  beforeAll(async () => {
    const config = {
      identity: { requestsPerMinute: null },
      devices: { rolloutEveryMs: EVERY_MS, telemetryEveryMs: 100 },
    };
    casemate = await startInstallation({ withHost: false, config });
    [acme, stranger] = await Promise.all([casemate.tenant("acme"), casemate.tenant("stranger")]);
    model = (await upload(casemate.url, acme, detector(), { Name: "Things", ...ONE })).UUID;
    await settledFunction(acme, model);
    const file = { name: "model.onnx", bytes: detector((made) => (made.producerName = "second")) };
    const form = { data: { Name: "Things" }, file };
    await sendForm(casemate.url, acme.key, "PATCH", `/cpt/function/${model}`, form);
    expect((await settledFunction(acme, model)).Status).toBe("ok");
    other = (await upload(casemate.url, acme, detector(), { Name: "Before", ...ONE })).UUID;
    expect((await settledFunction(acme, other)).Status).toBe("ok");
    // All of this is true with two replicas, whichever of them takes a turn.
    const options = { withHost: false, replica: "test-2", database: casemate.connection, config };
    second = await startInstallation(options);
  });
  afterAll(async () => {
    await second[Symbol.asyncDispose]();
    await casemate[Symbol.asyncDispose]();
  });

  let site: string;
  beforeEach(async () => {
    site = (await acme("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
  });

  /** A server at the site with one device that runs the first version, and what the server has to say. */
  async function place(name: string) {
    const RegistrationToken = (await acme("POST", "/dev/registration-tokens", { SystemId: site })).body.Token;
    const asked = { ServerId: randomUUID(), SystemId: site, RegistrationToken };
    const { Key } = (await casemate.anyone("POST", "/dev/plugin/register", asked)).body;
    const call = callerOf(casemate.url, Key);
    const say = (body: object) => call("PUT", `/dev/server/${asked.ServerId}/reported`, body);
    await say({ Version: 0, Facts: FACTS });
    const device = (await acme("POST", "/dev/devices", { Name: name, Server: asked.ServerId })).body.UUID;
    const before = [{ modelUUID: model, modelVersion: 1, Name: "before", Classes: ["Green"] }];
    expect((await acme("PUT", `/dev/device/${device}/pipelines`, before)).status).toBe(200);
    const wish = async (): Promise<number> =>
      (await call("GET", `/dev/server/${asked.ServerId}/state`)).body.Version;
    const runs = async () => {
      const Version = await wish();
      await say({ Version, Tried: Version, Health: "ok", Errors: [] });
    };
    let good = 0;
    const takes = async () => {
      await runs();
      good = await wish();
    };
    const fails = async (more: object = {}) => {
      const fault = { Health: "degraded", Errors: ["it does not fit"], ...more };
      await say({ Version: good, Tried: await wish(), ...fault });
    };
    await takes();
    const versions = async () => (await acme("GET", `/dev/device/${device}/pipelines`)).body;
    return { server: asked.ServerId, device, takes, fails, say, wish, versions, edge: call };
  }
  type Place = Awaited<ReturnType<typeof place>>;
  const places = (count: number): Promise<Place[]> =>
    Promise.all(Array.from({ length: count }, (_, at) => place(`camera ${at}`)));

  const begin = async (change: object) => {
    const ask = { Function: model, Version: 2, Target: { Systems: [site] }, ...change };
    const reply = await acme("POST", "/dev/rollouts", ask);
    expect([reply.status, reply.body.Message]).toEqual([201, undefined]);
    return reply.body.UUID as string;
  };
  const look = async (id: string) => (await acme("GET", `/dev/rollout/${id}`)).body;
  const rows = async (id: string) => (await acme("GET", `/dev/rollout/${id}/devices`)).body;
  const statuses = async (id: string) =>
    (await rows(id)).map(({ Status, Rollback }: { Status: string; Rollback: string | null }) =>
      Rollback === null ? Status : `${Status}, ${Rollback}`,
    );
  const becomes = (id: string, state: object) => expect.poll(() => look(id)).toMatchObject(state);
  const become = (id: string, wanted: string[]) => expect.poll(() => statuses(id)).toEqual(wanted);
  /** Which version of the model each runs, whatever number its save has. */
  const run = (all: Place[]) =>
    Promise.all(all.map(async (one) => (await one.versions())[0].modelVersion as number));
  const act = (id: string, Action: string) => acme("PATCH", `/dev/rollout/${id}`, { Action });
  /** Long enough that what must not happen would have: it is never waited for to happen. */
  const looked = () => new Promise((resolve) => setTimeout(resolve, 8 * EVERY_MS));

  it("goes from stage to stage when every server has said that its device is well, and not before", async () => {
    const all = await places(4);
    const Stages = [{ Count: 1 }, { Percent: 50 }, { Percent: 100 }].map((one) => ({
      ...one,
      HoldSeconds: 0,
    }));
    const id = await begin({
      Name: "Things 2",
      Stages,
      Target: { Devices: all.map(({ device }) => device) },
    });
    await become(id, ["changing", "queued", "queued", "queued"]);
    await looked();
    expect(await run(all)).toEqual([2, 1, 1, 1]);
    await all[0]!.takes();
    await become(id, ["healthy", "changing", "queued", "queued"]);
    expect(await look(id)).toMatchObject({
      Status: "running",
      Stage: 1,
      Counts: { Succeeded: 1, Queued: 2 },
    });
    await all[1]!.takes();
    await become(id, ["healthy", "healthy", "changing", "changing"]);
    await Promise.all(all.slice(2).map((one) => one.takes()));
    await becomes(id, { Status: "succeeded", Reason: null, EndedAt: expect.any(String) });
    expect(await run(all)).toEqual([2, 2, 2, 2]);
    // Only the model is another: what was set stays.
    expect(await all[0]!.versions()).toMatchObject([{ Name: "before", Classes: ["Green"], modelVersion: 2 }]);
    const [newest] = (await acme("GET", `/dev/device/${all[0]!.device}/pipelines/history`)).body;
    expect(newest).toMatchObject({ Version: 2, CreatedBy: `rollout:${id}` });
    const listed = await acme("GET", "/dev/rollouts?Status=succeeded");
    expect(listed.body.map(({ UUID }: { UUID: string }) => UUID)).toContain(id);
  });

  it("a stage is held for its time after it is well", async () => {
    const [one, two] = (await places(2)) as [Place, Place];
    const Stages = [
      { Count: 1, HoldSeconds: 3600 },
      { Percent: 100, HoldSeconds: 0 },
    ];
    const id = await begin({ Stages, Target: { Devices: [one.device, two.device] } });
    await become(id, ["changing", "queued"]);
    await one.takes();
    await become(id, ["healthy", "queued"]);
    await looked();
    expect(await run([two])).toEqual([1]);
    await sql`update rollouts set settled_at = settled_at - interval '1 hour' where id = ${id}`.execute(
      casemate.control.db.run,
    );
    await become(id, ["healthy", "changing"]);
    await act(id, "cancel");
  });

  it("the first failure takes every changed device back, and the others never had it", async () => {
    const [one, two, three] = (await places(3)) as [Place, Place, Place];
    const Stages = [{ Count: 1, HoldSeconds: 0 }, { Count: 2, HoldSeconds: 0 }, { Percent: 100 }];
    const id = await begin({ Stages, Target: { Devices: [one, two, three].map(({ device }) => device) } });
    await become(id, ["changing", "queued", "queued"]);
    await one.takes();
    await become(id, ["healthy", "changing", "queued"]);
    await two.fails();
    await become(id, ["healthy, asked", "failed, asked", "queued"]);
    expect(await look(id)).toMatchObject({ Status: "rolling_back", Reason: "1 devices failed" });
    await Promise.all([one.takes(), two.takes()]);
    await becomes(id, { Status: "rolled_back", Counts: { RolledBack: 2, Queued: 1 } });
    expect(await run([one, two, three])).toEqual([1, 1, 1]);
    expect((await rows(id))[1]).toMatchObject({
      ...{ Error: "it does not fit", VersionBefore: 1, Version: 2, VersionBack: 3, Status: "failed" },
    });
    const history = (await acme("GET", `/dev/device/${three.device}/pipelines/history`)).body;
    expect(history).toHaveLength(1);
    expect((await two.versions())[0].Classes).toEqual(["Green"]);
    const told = (await acme("GET", `/dev/audit?Subject=${id}&OrderBy=At`)).body;
    expect(told.map(({ Type }: { Type: string }) => Type)).toEqual([
      ...["rollout.created", "rollout.stage_begun", "rollout.devices_failed", "rollout.rolling_back"],
      "rollout.rolled_back",
    ]);
    expect(told[2].Details).toEqual({
      Stage: 1,
      Count: 1,
      Devices: [{ Device: two.device, Status: "failed" }],
    });
  });

  it("silence is a failure of its own, and a server that stays silent is not waited for for ever", async () => {
    const [one] = (await places(1)) as [Place];
    const id = await begin({ TimeoutSeconds: 1, Stages: [{ Percent: 100 }] });
    await becomes(id, { Status: "rolled_back", Reason: "1 devices did not report in time" });
    expect(await statuses(id)).toEqual(["timed_out, unanswered"]);
    expect(await run([one])).toEqual([1]);
  });

  it("of kinds of failing only those that are named end it", async () => {
    const [one] = (await places(1)) as [Place];
    const only = { Timeout: 1, Stages: [{ Percent: 100, HoldSeconds: 0 }] };
    const id = await begin({ ...only, Abort: { FailurePercent: 0, Kinds: ["failed"] } });
    const waited = await acme("GET", `/dev/rollout/${id}?wait=aborted&timeout=60`);
    expect(waited.body).toMatchObject({
      ...{ Status: "succeeded", Counts: { TimedOut: 1 }, Abort: { Kinds: ["failed"] } },
    });
    await one.takes();
    const other = await begin({ ...only, Version: 1, Abort: { Kinds: ["timed_out"] } });
    await becomes(other, {
      ...{ Status: "rolled_back", Reason: "1 devices did not report in time" },
      Abort: { Kinds: ["timed_out"], TimedOut: 0 },
    });
  });

  it("a failure that is tolerated is taken back alone, and the rest goes on", async () => {
    const all = await places(4);
    const ask = { Stages: [{ Percent: 100, HoldSeconds: 0 }], Abort: { FailurePercent: 25 } };
    const id = await begin({ ...ask, Target: { Devices: all.map(({ device }) => device) } });
    await become(id, ["changing", "changing", "changing", "changing"]);
    await all[0]!.fails();
    await become(id, ["failed, asked", "changing", "changing", "changing"]);
    await Promise.all(all.map((one) => one.takes()));
    await becomes(id, { Status: "succeeded", Counts: { Succeeded: 3, Failed: 1, RolledBack: 1 } });
    expect(await run(all)).toEqual([1, 2, 2, 2]);
  });

  it("where nothing is to be taken back, too many failures end it and devices keep what they have", async () => {
    const [one] = (await places(1)) as [Place];
    const id = await begin({ Rollback: false });
    await become(id, ["changing"]);
    await one.fails();
    await becomes(id, { Status: "aborted", Reason: "1 devices failed" });
    expect(await run([one])).toEqual([2]);
  });

  it("what somebody else's later wish broke is not held against it, nor what was broken before", async () => {
    const [one, two] = (await places(2)) as [Place, Place];
    await one.fails();
    const id = await begin({ Stages: [{ Percent: 100 }], Target: { Devices: [one.device, two.device] } });
    await become(id, ["changing", "changing"]);
    await looked();
    expect(await statuses(id)).toEqual(["changing", "changing"]);
    const wish = await one.wish();
    await acme("PATCH", `/dev/device/${one.device}`, { Active: true });
    await one.say({ Version: wish, Tried: await one.wish(), Health: "degraded", Errors: ["another"] });
    // A server that knows which devices it was says so.
    await two.fails({ FailedDevices: [randomUUID()] });
    await become(id, ["healthy", "changing"]);
    await two.fails({ FailedDevices: [two.device] });
    await become(id, ["healthy, asked", "failed, asked"]);
    await act(id, "rollback");
  });

  it("a device that falls ill while its stage is held is a failure", async () => {
    const [one] = (await places(1)) as [Place];
    const id = await begin({});
    await become(id, ["changing"]);
    await one.takes();
    await become(id, ["healthy"]);
    const Version = await one.wish();
    await one.say({ Version, Tried: Version, Health: "failed", Errors: ["no memory"] });
    await become(id, ["failed, asked"]);
    await act(id, "rollback");
  });

  it("too many frames that could not be looked at take it back, counted from the change on", async () => {
    const [one] = (await places(1)) as [Place];
    const tell = (Sequence: number, Frames: number, Errors: number, DurationMs: number) =>
      one.edge("POST", `/dev/server/${one.server}/telemetry`, {
        Samples: [
          { Sequence, AgeMs: 0, DurationMs, Devices: [{ UUID: one.device, Frames, Errors, Pipelines: [] }] },
        ],
      });
    const id = await begin({ Abort: { ErrorPercent: 10, MinFrames: 50 } });
    await become(id, ["changing"]);
    await one.takes();
    await become(id, ["healthy"]);
    // This began before it was changed, and says nothing of it.
    expect((await tell(1, 1000, 1000, 3_600_000)).body).toEqual({ Accepted: 1 });
    await expect.poll(() => tell(2, 49, 49, 0)).toMatchObject({ body: { Accepted: 1 } });
    await becomes(id, { Figures: { Frames: 49, Errors: 49 }, Status: "running" });
    await expect.poll(() => tell(3, 51, 0, 0)).toMatchObject({ body: { Accepted: 1 } });
    await becomes(id, { Status: "rolling_back", Reason: "49 of 100 frames could not be looked at" });
    await become(id, ["healthy, asked"]);
    await one.takes();
    await becomes(id, { Status: "rolled_back" });
  });

  it("paused it changes nobody, resumed it goes on, and by hand all is taken back or left", async () => {
    const [one, two] = (await places(2)) as [Place, Place];
    const Stages = [
      { Count: 1, HoldSeconds: 0 },
      { Percent: 100, HoldSeconds: 0 },
    ];
    const id = await begin({ Stages, Target: { Devices: [one.device, two.device] } });
    await become(id, ["changing", "queued"]);
    expect((await act(id, "pause")).body.Status).toBe("paused");
    expect((await act(id, "pause")).status).toBe(200);
    await one.takes();
    await become(id, ["healthy", "queued"]);
    await looked();
    expect(await statuses(id)).toEqual(["healthy", "queued"]);
    await act(id, "resume");
    await become(id, ["healthy", "changing"]);
    expect((await act(id, "rollback")).body.Status).toMatch(/^roll/);
    await become(id, ["healthy, asked", "changing, asked"]);
    await Promise.all([one.takes(), two.takes()]);
    await becomes(id, { Status: "rolled_back", Reason: "asked for" });
    expect(await run([one, two])).toEqual([1, 1]);
    for (const action of ["pause", "resume", "cancel"]) {
      const reply = await act(id, action);
      expect([reply.status, reply.body.Code]).toEqual([409, "rollout.over"]);
    }
    const next = await begin({ Stages, Target: { Devices: [one.device, two.device] } });
    await become(next, ["changing", "queued"]);
    const stale = { "if-match": '"x.1"' };
    const late = await acme("PATCH", `/dev/rollout/${next}`, { Action: "cancel" }, stale);
    expect(late.status).toBe(412);
    expect((await act(next, "cancel")).body.Status).toBe("cancelled");
    expect(await run([one, two])).toEqual([2, 1]);
  });

  it("a device that is changed by hand is out, before its turn and after, and is not taken back", async () => {
    const [one, two, three] = (await places(3)) as [Place, Place, Place];
    const Stages = [
      { Count: 2, HoldSeconds: 0 },
      { Percent: 100, HoldSeconds: 0 },
    ];
    const id = await begin({ Stages, Target: { Devices: [one, two, three].map(({ device }) => device) } });
    await become(id, ["changing", "changing", "queued"]);
    const by = [{ modelUUID: model, modelVersion: 1, Name: "by hand" }];
    for (const { device } of [one, three]) await acme("PUT", `/dev/device/${device}/pipelines`, by);
    await become(id, ["overtaken", "changing", "overtaken"]);
    await two.fails();
    await become(id, ["overtaken", "failed, asked", "overtaken"]);
    await two.takes();
    await becomes(id, { Status: "rolled_back" });
    expect((await one.versions())[0].Name).toBe("by hand");
    expect((await three.versions())[0].Name).toBe("by hand");
    expect(await statuses(id)).toEqual(["overtaken", "failed, done", "overtaken"]);
  });

  it("a device that is removed is gone, and the rest goes on", async () => {
    const [one, two] = (await places(2)) as [Place, Place];
    const id = await begin({
      Stages: [{ Percent: 100, HoldSeconds: 0 }],
      Target: { Devices: [one.device, two.device] },
    });
    await become(id, ["changing", "changing"]);
    await acme("DELETE", `/dev/server/${one.server}`);
    await two.takes();
    await becomes(id, { Status: "succeeded", Counts: { Succeeded: 1, Skipped: 1 } });
    expect((await rows(id))[0]).toMatchObject({
      Status: "gone",
      Device: { UUID: one.device, Name: "camera 0" },
      Server: null,
    });
  });

  it("of five rollouts at once of one device one is made; the others say which it is in", async () => {
    const [one, two] = (await places(2)) as [Place, Place];
    const ask = (at: number) => ({
      ...{ Function: model, Version: 2 },
      Target: { Devices: at % 2 ? [one.device, two.device] : [two.device, one.device] },
    });
    const replies = await Promise.all([0, 1, 2, 3, 4].map((at) => acme("POST", "/dev/rollouts", ask(at))));
    const made = replies.filter(({ status }) => status === 201);
    expect(made).toHaveLength(1);
    const id = made[0]!.body.UUID;
    for (const { status, body } of replies.filter((reply) => reply.status !== 201))
      expect([status, body.Code, body.UUID, body.Issues.length]).toEqual([409, "rollout.overlaps", id, 2]);
    await act(id, "cancel");
    const again = await acme("POST", "/dev/rollouts", ask(0));
    expect([again.status, again.body.Code]).toEqual([201, undefined]);
    await act(again.body.UUID, "cancel");
  });

  it("models that a rollout brings, or may have to bring back, are not deleted meanwhile", async () => {
    const [one] = (await places(1)) as [Place];
    await acme("PUT", `/dev/device/${one.device}/pipelines`, [{ modelUUID: other }]);
    const id = await begin({ Replaces: other });
    await become(id, ["changing"]);
    const kept = await acme("DELETE", `/cpt/function/${other}`);
    expect([kept.status, kept.body.Code]).toEqual([409, "function.deployed"]);
    await act(id, "cancel");
    expect((await acme("DELETE", `/cpt/function/${other}`)).status).toBe(200);
  });

  it("what cannot be taken back, since its model is gone, keeps no other device from it", async () => {
    const [one, two] = (await places(2)) as [Place, Place];
    const id = await begin({ Stages: [{ Percent: 100 }], Target: { Devices: [one.device, two.device] } });
    await become(id, ["changing", "changing"]);
    await sql`
      update pipeline_revisions set pipelines = jsonb_set(pipelines, '{0,modelUUID}', to_jsonb(${randomUUID()}::text))
      where device_id = ${one.device} and version = 1`.execute(casemate.control.db.run);
    await act(id, "rollback");
    await become(id, ["changing, unanswered", "changing, asked"]);
    await Promise.all([one.takes(), two.takes()]);
    await becomes(id, { Status: "rolled_back", Counts: { RolledBack: 1 } });
    expect((await rows(id))[0].Error).toBe("what it ran before is gone");
    expect(await run([one, two])).toEqual([2, 1]);
  });

  it("a whole list of pipelines goes to a group, with an id of its own for each device", async () => {
    const [one, two] = (await places(2)) as [Place, Place];
    const group = (await acme("POST", "/dev/groups", { Name: "Gates" })).body.UUID;
    const Devices = [one.device, two.device];
    await acme("POST", `/dev/group/${group}/devices`, { Devices });
    const Pipelines = [{ UUID: randomUUID(), modelUUID: model, Name: "all" }];
    const ask = { Pipelines, Target: { Groups: [group] }, Stages: [{ Percent: 100, HoldSeconds: 0 }] };
    const dry = await acme("POST", "/dev/rollouts?dryRun=1", ask);
    expect([dry.status, dry.body]).toEqual([
      200,
      { Stages: [{ Devices: expect.anything(), HoldSeconds: 0 }], Skipped: [] },
    ]);
    expect(dry.body.Stages[0].Devices.toSorted()).toEqual(Devices.toSorted());
    const made = await acme("POST", "/dev/rollouts", ask);
    await become(made.body.UUID, ["changing", "changing"]);
    const [first, last] = await Promise.all([one.versions(), two.versions()]);
    // The version that `default` meant when it was made.
    expect([first[0].Name, first[0].modelVersion]).toEqual([
      "all",
      made.body.Change.Pipelines[0].modelVersion,
    ]);
    expect(new Set([first[0].UUID, last[0].UUID, Pipelines[0]!.UUID]).size).toBe(3);
    await act(made.body.UUID, "cancel");
  });

  it("devices that cannot take it are skipped and say why; if none can, it is refused", async () => {
    const [one, two] = (await places(2)) as [Place, Place];
    await acme("PUT", `/dev/device/${two.device}/pipelines`, []);
    const id = await begin({ Target: { Devices: [two.device, one.device] } });
    const devices = await rows(id);
    expect(devices.map((each: Record<string, unknown>) => [each.Status, each.Error, each.Stage])).toEqual([
      [expect.stringMatching(/queued|changing/), null, 0],
      ["skipped", "nothing it runs is replaced", null],
    ]);
    await act(id, "cancel");
    const none = await acme("POST", "/dev/rollouts", { Function: model, Target: { Devices: [two.device] } });
    expect([none.status, none.body.Code]).toEqual([422, "device.none-applicable"]);
  });

  it("what is no rollout is refused, each with what is wrong, and nothing is kept", async () => {
    const [one] = (await places(1)) as [Place];
    const Target = { Devices: [one.device] };
    const asked: [object, number, string][] = [
      [{ Target }, 400, "Pipelines"],
      [{ Target, Function: model, Pipelines: [] }, 400, "Pipelines"],
      [{ Target, Pipelines: [], Version: 1 }, 400, "Version"],
      [{ Target, Function: model, Version: 9 }, 400, "Version"],
      [{ Target, Function: model, Alias: "x" }, 400, "Alias"],
      [{ Target, Function: model, Version: 2, Alias: "default" }, 400, "Alias"],
      [{ Target, Function: randomUUID() }, 404, "Function"],
      [{ Target: {}, Function: model }, 400, "Target"],
      [{ Target: { Devices: [randomUUID()] }, Function: model }, 404, "Target"],
      [{ Target: { Groups: [randomUUID()] }, Function: model }, 404, "Target"],
      [{ Target: { Systems: [randomUUID()] }, Function: model }, 404, "Target"],
      [{ Target, Function: model, Version: 2, Stages: [{ Count: 1 }] }, 400, "Stages[0]"],
      [{ Target, Function: model, Version: 2, Stages: [{ Count: 1, Percent: 100 }] }, 400, "Stages[0]"],
      [{ Target, Function: model, Version: 2, Stages: [{}, { Percent: 100 }] }, 400, "Stages[0]"],
    ];
    for (const [body, status, field] of asked) {
      const reply = await acme("POST", "/dev/rollouts", body);
      expect([body, reply.status, reply.body.Field?.Name]).toEqual([body, status, field]);
    }
    for (const body of [
      "{",
      "[]",
      "null",
      { Target: { Devices: [] } },
      { Stages: "all" },
      { Abort: { Failures: -1 } },
      { Abort: { Kinds: [] } },
      { Abort: { Kinds: ["late"] } },
      { Abort: { Kinds: ["failed", "failed"] } },
    ].map((one) =>
      typeof one === "string" ? one : { Function: model, Version: 2, Target: { Systems: [site] }, ...one },
    ))
      expect((await acme("POST", "/dev/rollouts", body, { "content-type": "application/json" })).status).toBe(
        400,
      );
    const kept = await acme("GET", `/dev/rollouts`);
    expect(kept.body.filter(({ Name }: { Name: string }) => Name === "refused")).toEqual([]);
    expect((await acme("PATCH", `/dev/rollout/${randomUUID()}`, { Action: "pause" })).status).toBe(404);
  });

  it("another tenant's is not there, to see, to steer or to aim at", async () => {
    const [one] = (await places(1)) as [Place];
    const id = await begin({});
    const calls: [string, string, object?][] = [
      ["GET", `/dev/rollout/${id}`],
      ["GET", `/dev/rollout/${id}/devices`],
      ["PATCH", `/dev/rollout/${id}`, { Action: "rollback" }],
      ["POST", "/dev/rollouts", { Pipelines: [], Target: { Devices: [one.device] } }],
      ["POST", "/dev/rollouts", { Pipelines: [], Target: { Systems: [site] } }],
    ];
    for (const [method, path, body] of calls)
      expect([method, path, (await stranger(method, path, body)).status]).toEqual([method, path, 404]);
    expect((await stranger("GET", "/dev/rollouts")).body).toEqual([]);
    const mine = await stranger("POST", "/dev/rollouts", { Pipelines: [], Target: { Tags: ["x"] } });
    expect([mine.status, mine.body.Code]).toEqual([422, "device.none-applicable"]);
    await act(id, "cancel");
  });

  it("a hundred and twenty devices are changed once each by two replicas, and taken back once each", async () => {
    const { server, device } = await place("camera 0");
    const others: string[] = await Promise.all(
      Array.from({ length: 119 }, async (_, at) => {
        const made = await acme("POST", "/dev/devices", { Name: `camera ${at + 1}`, Server: server });
        return made.body.UUID;
      }),
    );
    const Pipelines = [{ modelUUID: model, modelVersion: 2 }];
    const id = await begin({
      Function: undefined,
      Version: undefined,
      Pipelines,
      Stages: [{ Percent: 100 }],
    });
    await becomes(id, { Counts: { InProgress: 120 } });
    await act(id, "rollback");
    await becomes(id, { Status: "rolling_back", Counts: { RollingBack: 120 } });
    const { rows: revisions } = await sql<{ device_id: string; n: number }>`
      select device_id, count(*)::int as n from pipeline_revisions
      where device_id = any(${[device, ...others]}::uuid[]) and created_by = ${`rollout:${id}`} group by 1`.execute(
      casemate.control.db.run,
    );
    expect(revisions.map(({ n }) => n)).toEqual(Array(120).fill(2));
  });
});
