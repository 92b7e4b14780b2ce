// SPDX-License-Identifier: Apache-2.0
/** Pipelines over HTTP with a model that was really converted: from its upload to the bytes that a server gets. */
import { createHash, randomUUID } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { detector } from "#models/testing.ts";
import {
  type Caller,
  callerOf,
  type Installation,
  type Reply,
  startInstallation,
  type Tenant,
} from "#testing/installation.ts";
import { describeWith } from "#testing/requirements.ts";
import { userNamespaces } from "../../core/models/testing.ts";
import { overConversion, settledFunction, upload } from "../models/testing.ts";

const ONNX = "application/x-onnx";
const FACTS = {
  AvailableRuntimes: [{ Name: "cpu", Version: "1.30.0", Targets: [ONNX] }],
  Supports: { Pipelines: true },
};

describeWith([userNamespaces], "pipelines of devices", () => {
  let casemate: Installation;
  let acme: Caller & Tenant;
  let stranger: Caller & Tenant;
  let model: string;
  beforeAll(async () => {
    casemate = await startInstallation({
      ...{ withHost: false, config: { identity: { requestsPerMinute: null } } },
    });
    [acme, stranger] = await Promise.all([casemate.tenant("acme"), casemate.tenant("stranger")]);
    const uploaded = await upload(casemate.url, acme, detector(), { Name: "Things" });
    model = uploaded.UUID;
    expect((await settledFunction(acme, model)).Status).toBe("ok");
  });
  afterAll(() => casemate[Symbol.asyncDispose]());

  let site: string;
  let edge: Caller;
  let server: string;
  let device: string;
  let path: string;
  beforeEach(async () => {
    site = (await acme("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
    ({ server, edge } = await enrol());
    device = (await acme("POST", "/dev/devices", { Name: "Gate", Server: server })).body.UUID;
    path = `/dev/device/${device}/pipelines`;
  });

  const enrol = (facts: object = FACTS) => enter(acme, site, facts);
  const enrolFor = async (caller: Caller) =>
    enter(caller, (await caller("POST", "/dev/systems", { Name: "Elsewhere" })).body.ID, FACTS);

  async function enter(caller: Caller, at: string, facts: object) {
    const RegistrationToken = (await caller("POST", "/dev/registration-tokens", { SystemId: at })).body.Token;
    const asked = { ServerId: randomUUID(), SystemId: at, RegistrationToken };
    const { Key } = (await casemate.anyone("POST", "/dev/plugin/register", asked)).body;
    const call = callerOf(casemate.url, Key);
    await call("PUT", `/dev/server/${asked.ServerId}/reported`, { Version: 0, Facts: facts });
    return { server: asked.ServerId, edge: call };
  }
  const state = async () => (await edge("GET", `/dev/server/${server}/state`)).body;
  const codeOf = (reply: Reply) => [reply.status, reply.body.Code];

  it("what is saved reaches the server with the bytes of the model, whole and in parts, and signed", async () => {
    const before = await state();
    const saved = await acme("PUT", path, [
      { modelUUID: model, Classes: ["Green"], resizingMethod: "Stretch" },
    ]);
    expect(saved.status).toBe(200);
    expect(saved.body).toMatchObject([{ modelUUID: model, modelVersion: 1, Name: "Things", chains: [] }]);
    const { Version, Desired, Manifest } = await state();
    expect(Version).toBeGreaterThan(before.Version);
    expect(Desired.Devices).toMatchObject([{ UUID: device, PipelinesVersion: 1, Pipelines: saved.body }]);
    const [artefact] = Manifest.Artefacts;
    expect(artefact).toMatchObject({ Function: model, Version: 1, MediaType: ONNX });

    const get = (headers = {}) =>
      fetch(casemate.url + artefact.URL, { headers: { authorization: `Bearer ${edge.key}`, ...headers } });
    const whole = Buffer.from(await (await get()).arrayBuffer());
    expect(createHash("sha256").update(whole).digest("hex")).toBe(artefact.SHA256);
    const rest = await get({ range: "bytes=100-" });
    expect([rest.status, rest.headers.get("content-range")]).toEqual([
      206,
      `bytes 100-${whole.length - 1}/${whole.length}`,
    ]);
    expect(Buffer.from(await rest.arrayBuffer()).equals(whole.subarray(100))).toBe(true);
    expect((await get({ "if-none-match": rest.headers.get("etag")! })).status).toBe(304);
    // As the catalogue signs it.
    const listed = (await acme("GET", `/cpt/function/${model}/artifacts`)).body;
    expect(listed.find((each: { UUID: string }) => each.UUID === artefact.UUID)).toMatchObject({
      ...{ Signature: artefact.Signature, KeyID: artefact.KeyID, SHA256: artefact.SHA256 },
    });
  });

  it("an artefact that a server was told of can be had when a newer one was made since", async () => {
    await acme("PUT", path, [{ modelUUID: model }]);
    const [{ UUID, URL }] = (await state()).Manifest.Artefacts;
    const asked = { Targets: [ONNX], Options: { level: "basic" } };
    const [conversion] = (await acme("POST", `/cpt/function/${model}/conversions`, asked)).body;
    expect((await overConversion(acme, conversion.UUID)).Status).toBe("ok");
    expect((await state()).Manifest.Artefacts[0].UUID).not.toBe(UUID);
    const got = await fetch(casemate.url + URL, { headers: { authorization: `Bearer ${edge.key}` } });
    expect([got.status, (await got.arrayBuffer()).byteLength > 100]).toEqual([200, true]);
  });

  it("a server gets no artefact that it is not to run, and another server none of its", async () => {
    await acme("PUT", path, [{ modelUUID: model }]);
    const [{ UUID }] = (await state()).Manifest.Artefacts;
    const other = await enrol();
    const from = (call: Caller, id: string) => call("GET", `/dev/server/${id}/artifact/${UUID}/content`);
    expect(codeOf(await from(other.edge, other.server))).toEqual([404, "function.artifact-not-found"]);
    expect(codeOf(await from(other.edge, server))).toEqual([404, "server.not-found"]);
    expect((await from(acme, server)).status).toBe(401);
    await acme("PUT", path, []);
    expect((await from(edge, server)).status).toBe(404);
  });

  it("a call that is repeated adds a pipeline once, and the same words to another device are another call", async () => {
    const other = (await acme("POST", "/dev/devices", { Name: "Other", Server: server })).body.UUID;
    const once = { "idempotency-key": randomUUID() };
    const add = () => acme("POST", path, { modelUUID: model }, once);
    const [first, again] = [await add(), await add()];
    expect([first.status, again.text]).toEqual([200, first.text]);
    const got = await acme("GET", path);
    expect([got.body.length, got.headers.get("x-pagination-records")]).toEqual([1, "1"]);
    const elsewhere = await acme("POST", `/dev/device/${other}/pipelines`, { modelUUID: model }, once);
    expect(elsewhere.status).toBe(409);
    expect((await acme("GET", `/dev/device/${other}/pipelines`)).body).toEqual([]);
  });

  it("what cannot run is refused with all that is wrong, and nothing is changed", async () => {
    await acme("PUT", path, [{ modelUUID: model }]);
    const bad = [{ modelUUID: model, modelNMS: 0.5, Classes: ["Cow"] }, { modelUUID: randomUUID() }];
    const reply = await acme("PUT", path, bad);
    expect(codeOf(reply)).toEqual([422, "pipeline.refused"]);
    expect(reply.body.Issues.map(({ path: at }: { path: string }) => at)).toEqual([
      "[0].modelNMS",
      "[0].Classes",
      "[1].modelUUID",
    ]);
    expect(reply.body.Field.Name).toBe("[0].modelNMS");
    expect((await acme("GET", path)).body).toHaveLength(1);
    const malformed: unknown[] = [
      {},
      [
        {
          modelUUID: model,
          Mask: [
            [
              [2, 0],
              [0, 0],
              [1, 1],
            ],
          ],
        },
      ],
      [{ modelUUID: "x" }],
    ];
    for (const body of malformed) expect((await acme("PUT", path, body)).status).toBe(400);
  });

  it("a stranger's model is not there for a device, until its catalogue is shown to the device's owner", async () => {
    const theirs = (await stranger("POST", "/dev/systems", { Name: "Theirs" })).body.ID;
    const RegistrationToken = (await stranger("POST", "/dev/registration-tokens", { SystemId: theirs })).body
      .Token;
    const asked = { ServerId: randomUUID(), SystemId: theirs, RegistrationToken };
    const { Key } = (await casemate.anyone("POST", "/dev/plugin/register", asked)).body;
    await callerOf(casemate.url, Key)("PUT", `/dev/server/${asked.ServerId}/reported`, {
      Version: 0,
      Facts: FACTS,
    });
    const camera = (await stranger("POST", "/dev/devices", { Name: "C", Server: asked.ServerId })).body.UUID;
    const give = () => stranger("PUT", `/dev/device/${camera}/pipelines`, [{ modelUUID: model }]);
    expect((await give()).body.Issues).toEqual([
      { path: "[0].modelUUID", message: "there is no such model" },
    ]);
    const shown = { Name: "For them", Visibility: "organization", Organisations: [stranger.organizationId] };
    const catalogue = (await acme("POST", "/cpt/catalogues", shown)).body.UUID;
    expect((await acme("PUT", `/cpt/catalogue/${catalogue}/function/${model}`)).status).toBe(200);
    expect((await give()).status).toBe(200);
    await acme("DELETE", `/cpt/catalogue/${catalogue}/function/${model}`);
    expect((await give()).status).toBe(422);
  });

  it("every save is a revision, and an earlier one can be saved again", async () => {
    await acme("PUT", path, [{ modelUUID: model, Name: "first" }]);
    await acme("POST", path, { modelUUID: model, Name: "second" });
    const [first] = (await acme("GET", path)).body;
    await acme("POST", `/dev/device/${device}/functions`, [{ FunctionUUID: model }]);
    expect((await acme("DELETE", `/dev/device/${device}/pipeline/${first.UUID}`)).body).toHaveLength(2);
    expect((await acme("DELETE", `/dev/device/${device}/pipeline/${first.UUID}`)).status).toBe(404);
    const history = await acme("GET", `${path}/history`);
    expect(
      history.body.map(({ Version, Note }: { Version: number; Note: string }) => [Version, Note]),
    ).toEqual([
      [4, "removed"],
      [3, "added"],
      [2, "added"],
      [1, "replaced"],
    ]);
    const back = await acme("POST", `${path}/rollback`, { Version: 1 });
    expect(back.body).toEqual(history.body[3].Pipelines);
    expect((await acme("GET", `${path}/history?limit=1`)).body[0]).toMatchObject({
      Version: 5,
      Note: "rolled back to 1",
    });
    expect((await acme("POST", `${path}/rollback`, { Version: 0 })).body).toEqual([]);
    expect((await acme("POST", `${path}/rollback`, { Version: 99 })).status).toBe(404);
  });

  it("of two who save over the same revision, the second is told", async () => {
    const tag = (await acme("GET", path)).headers.get("etag")!;
    const replies = await Promise.all(
      ["a", "b"].map((Name) => acme("PUT", path, [{ modelUUID: model, Name }], { "if-match": tag })),
    );
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 412]);
  });

  it("many devices are given the same at once; one that cannot take it keeps what it has", async () => {
    const second = (await acme("POST", "/dev/devices", { Name: "Quay", Server: server })).body;
    const old = await enrol({ ...FACTS, Supports: { Pipelines: false } });
    const third = (await acme("POST", "/dev/devices", { Name: "Old", Server: old.server })).body.UUID;
    await acme("PUT", path, [{ modelUUID: model, Name: "before" }]);
    const ask = { Devices: [device, second.NxID, third, randomUUID()], Functions: [model], Pipelines: [] };
    const all = `/dev/system/${site}/devices/pipelines`;
    const dry = await acme("PUT", `${all}?dryRun=1`, ask);
    expect(dry.body.Applied.sort()).toEqual([device, second.UUID].sort());
    expect(dry.body.Rejected.map(({ Device }: { Device: string }) => Device)).toEqual(ask.Devices.slice(2));
    expect((await acme("GET", path)).body[0].Name).toBe("before");

    expect((await acme("PUT", all, ask)).body).toMatchObject({ Applied: expect.any(Array) });
    expect((await acme("GET", path)).body[0].Name).toBe("Things");
    const [one] = (await acme("GET", `/dev/device/${second.UUID}/pipelines`)).body;
    expect(one.UUID).not.toBe((await acme("GET", path)).body[0].UUID);
    expect((await acme("GET", `/dev/device/${third}/pipelines`)).body).toEqual([]);
    const none = await acme("PUT", all, { ...ask, Devices: [third] });
    expect(codeOf(none)).toEqual([422, "device.none-applicable"]);

    await acme("PUT", path, [{ modelUUID: model, Name: "mine" }]);
    const cloned = await acme("POST", `${path}/clone`, { Devices: [second.UUID] });
    expect(cloned.body.Applied).toEqual([second.UUID]);
    expect((await acme("GET", `/dev/device/${second.UUID}/pipelines`)).body[0].Name).toBe("mine");
  });

  it("a site that nothing was heard of takes nothing", async () => {
    const silent = (await acme("POST", "/dev/systems", { Name: "Silent" })).body.ID;
    const reply = await acme("PUT", `/dev/system/${silent}/devices/pipelines`, { Devices: [device] });
    expect(codeOf(reply)).toEqual([409, "site.offline"]);
  });

  it("a model is told in the devices' form to everybody when it is public, and to a server when its owner sees it", async () => {
    const told = (caller: Caller) => caller("GET", `/dev/models/${model}`);
    const foreign = await enrolFor(stranger);
    for (const caller of [casemate.anyone, foreign.edge])
      expect(codeOf(await told(caller))).toEqual([404, "function.not-found"]);
    expect(codeOf(await told(callerOf(casemate.url, "cm_edge_wrong")))).toEqual([401, "identity.token"]);
    const own = await told(edge);
    expect(own.status).toBe(200);
    expect(own.body).toMatchObject({ UUID: model, Name: "Things", NamedInput: [{ Name: "image-" }] });
    const onnx = (reply: Reply) =>
      reply.body.Downloads.find(({ MediaType }: { MediaType: string }) => MediaType === ONNX).URL;
    expect(onnx(own)).toMatch(/^\/cpt\/artifact\//);
    await acme("PUT", path, [{ modelUUID: model }]);
    const running = onnx(await told(edge));
    expect((await edge("GET", running)).status).toBe(200);

    const made = { Name: "everybody", Visibility: "public" };
    const catalogue = (await acme("POST", "/cpt/catalogues", made)).body.UUID;
    await acme("PUT", `/cpt/catalogue/${catalogue}/function/${model}`);
    for (const caller of [casemate.anyone, foreign.edge]) expect((await told(caller)).status).toBe(200);
    // Told of it, and not given it.
    expect((await casemate.anyone("GET", onnx(await told(casemate.anyone)))).status).toBe(401);
    await acme("DELETE", `/cpt/catalogue/${catalogue}/function/${model}`);
    await acme("DELETE", `/cpt/catalogue/${catalogue}`);
    expect((await told(casemate.anyone)).status).toBe(404);
  });

  it("a site is offered what its servers run, while they are there, and another's site is not there", async () => {
    const offered = async (caller: Caller, of = site) => {
      const { status, body } = await caller("GET", `/cpt/rpc/pipelines/available/${of}`);
      return status === 200 ? body.map(({ UUID }: { UUID: string }) => UUID) : status;
    };
    expect(await offered(acme)).toContain(model);
    expect(await offered(stranger)).toBe(404);
    expect(await offered(acme, randomUUID())).toBe(404);
    const before = site;
    site = (await acme("POST", "/dev/systems", { Name: "Quay" })).body.ID;
    expect(await offered(acme)).toEqual([]);
    const other = await enrol({
      ...FACTS,
      AvailableRuntimes: [{ Name: "x", Version: "1", Targets: ["x/y"] }],
    });
    expect(await offered(acme)).toEqual([]);
    await enrol({ ...FACTS, Supports: { Pipelines: false } });
    expect(await offered(acme)).toEqual([]);
    await other.edge("PUT", `/dev/server/${other.server}/reported`, { Version: 0, Facts: FACTS });
    expect(await offered(acme)).toContain(model);
    await sql`update servers set last_seen = now() - interval '10 minutes' where site_id = ${site}`.execute(
      casemate.control.db.run,
    );
    expect(await offered(acme)).toEqual([]);
    expect(await offered(acme, before)).toContain(model);
  });

  it("a model that a device runs is not deleted under it", async () => {
    const uploaded = await upload(casemate.url, acme, detector(), { Name: "Passing" });
    expect((await settledFunction(acme, uploaded.UUID)).Status).toBe("ok");
    await acme("PUT", path, [{ modelUUID: uploaded.UUID }]);
    expect(codeOf(await acme("DELETE", `/cpt/function/${uploaded.UUID}`))).toEqual([
      409,
      "function.deployed",
    ]);
    await acme("PUT", path, []);
    expect((await acme("DELETE", `/cpt/function/${uploaded.UUID}`)).status).toBe(200);
  });
});
