// SPDX-License-Identifier: Apache-2.0
/** What models may take, and what becomes of those that others still run when their owner gives them up. */
import { randomUUID } from "node:crypto";
import { readdirSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { TARGETS } from "#models/job.ts";
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
import { sweepWithdrawn } from "../../core/models/withdrawn.ts";
import { overConversion, sendForm, settledFunction, upload } from "./testing.ts";

const FILE = { name: "m.onnx", bytes: detector() };
const FACTS = {
  AvailableRuntimes: [{ Name: "cpu", Version: "1.30.0", Targets: [TARGETS.onnx] }],
  Supports: { Pipelines: true },
};
/** Four such files with what a form adds, and not five. */
const MOST = 4 * FILE.bytes.length + 1000;

vi.setConfig({ testTimeout: 180_000 });

describeWith([userNamespaces], "the room of models", () => {
  let casemate: Installation;
  let acme: Caller & Tenant;
  let other: Caller & Tenant;
  beforeAll(async () => {
    casemate = await startInstallation({
      withHost: false,
      config: { identity: { requestsPerMinute: null }, models: { bytesPerAccount: MOST } },
    });
    [acme, other] = await Promise.all([casemate.tenant("acme"), casemate.tenant("other")]);
  });
  afterAll(() => casemate[Symbol.asyncDispose]());
  const usage = async (caller: Caller) => (await caller("GET", "/cpt/functions/statistics")).body;
  const uploadsLeft = () => readdirSync(join(casemate.connection.keyRing, "../blobs/uploads"));

  it("is bounded, also over many uploads at once and for what conversions make, and is there again afterwards", async () => {
    const data = { Name: "many", EnableConversions: [] };
    const replies = await Promise.all(
      Array.from({ length: 12 }, () =>
        sendForm(casemate.url, acme.key, "POST", "/cpt/functions", { data, file: FILE }),
      ),
    );
    const taken = replies.filter(({ status }) => status === 201);
    const refused = replies.filter(({ status }) => status !== 201);
    // Promises count while they last, so fewer may come through at once; one does, and never five.
    expect(taken.length).toBeGreaterThan(0);
    expect(taken.length).toBeLessThanOrEqual(4);
    expect(refused.map(({ body }) => body.Code)).toEqual(refused.map(() => "models.full"));
    const rest = { data: { ...data, Name: "one more" }, file: FILE };
    for (let n = taken.length; n < 4; n++)
      expect((await sendForm(casemate.url, acme.key, "POST", "/cpt/functions", rest)).status).toBe(201);
    expect((await sendForm(casemate.url, acme.key, "POST", "/cpt/functions", rest)).body.Code).toBe(
      "models.full",
    );
    expect(await usage(acme)).toMatchObject({ Total: 4, StorageBytesMax: MOST });
    expect((await usage(acme)).StorageBytes).toBeLessThanOrEqual(MOST);
    expect(uploadsLeft()).toEqual([]);
    const promises = await sql`select 1 from model_uploads`.execute(casemate.control.db.run);
    expect(promises.rows).toEqual([]);

    const ids = (await acme("GET", "/cpt/functions")).body.map(({ UUID }: { UUID: string }) => UUID);
    for (const id of ids) await settledFunction(acme, id);
    const [job] = (await acme("POST", `/cpt/function/${ids[0]}/conversions`, { Targets: [TARGETS.onnx] }))
      .body;
    const over = await overConversion(acme, job.UUID);
    expect([over.Status, over.Rules[0].Id]).toEqual(["error", "limits.storage"]);
    // Another's room is another's.
    expect((await usage(other)).StorageBytes).toBe(0);
    for (const id of ids) expect((await acme("DELETE", `/cpt/function/${id}`)).status).toBe(200);
    expect(await usage(acme)).toMatchObject({ Total: 0, StorageBytes: 0 });
  });

  it("is promised to who is sending, and free again when they went away", async () => {
    const boundary = "b";
    const sending = request(`${casemate.url}/cpt/functions`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${acme.key}`,
        "content-type": `multipart/form-data; boundary=${boundary}`,
        "content-length": String(MOST),
      },
    });
    sending.on("error", () => {});
    sending.write(
      `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="m.onnx"\r\n\r\nbegun`,
    );
    const promised = async () =>
      (await sql`select 1 from model_uploads`.execute(casemate.control.db.run)).rows.length;
    await expect.poll(promised).toBe(1);
    const small = { data: { Name: "small", EnableConversions: [] }, file: FILE };
    const send = () => sendForm(casemate.url, acme.key, "POST", "/cpt/functions", small);
    expect((await send()).body.Code).toBe("models.full");
    sending.destroy();
    await expect.poll(promised).toBe(0);
    const sent = await send();
    expect(sent.status).toBe(201);
    await settledFunction(acme, sent.body.UUID);
    expect((await acme("DELETE", `/cpt/function/${sent.body.UUID}`)).status).toBe(200);
    expect(uploadsLeft()).toEqual([]);
  });

  it("a public model that only others run is withdrawn: they run on, nobody takes it anew, and it goes after them", async () => {
    const model = (await upload(casemate.url, acme, FILE.bytes, { Name: "Public" })).UUID;
    expect((await settledFunction(acme, model)).Status).toBe("ok");
    const made = { Name: "everybody", Visibility: "public" };
    const catalogue = (await acme("POST", "/cpt/catalogues", made)).body.UUID;
    await acme("PUT", `/cpt/catalogue/${catalogue}/function/${model}`);
    const there = await deviceOf(other);
    const runs = [{ modelUUID: model }];
    expect((await other("PUT", there.pipelines, runs)).status).toBe(200);

    const removed = await acme("DELETE", `/cpt/function/${model}`);
    expect([removed.status, removed.body.Message]).toEqual([200, expect.stringContaining("withdrawn")]);
    for (const caller of [acme, other]) {
      expect((await caller("GET", `/cpt/function/${model}`)).status).toBe(404);
      const listed = (await caller("GET", "/cpt/functions")).body;
      expect(listed.filter(({ UUID }: { UUID: string }) => UUID === model)).toEqual([]);
    }
    expect((await acme("DELETE", `/cpt/function/${model}`)).status).toBe(404);
    expect((await acme("DELETE", `/cpt/catalogue/${catalogue}`)).status).toBe(200);
    expect(await sweepWithdrawn(casemate.control.db)).toBe(0);
    // Who runs it runs on: its bytes are still to be had there.
    const { Manifest } = (await there.edge("GET", `/dev/server/${there.server}/state`)).body;
    expect((await there.edge("GET", Manifest.Artefacts[0].URL)).status).toBe(200);
    expect((await usage(acme)).StorageBytes).toBeGreaterThan(0);

    const anew = await other("PUT", there.pipelines, [...runs, ...runs]);
    expect([anew.status, anew.body.Message]).toEqual([422, expect.stringContaining("no such model")]);
    expect((await other("PUT", there.pipelines, [])).status).toBe(200);
    await sweptAway(model);
    expect((await usage(acme)).StorageBytes).toBe(0);
  });

  it("nobody holds a withdrawn model for ever", async () => {
    const model = (await upload(casemate.url, acme, FILE.bytes, { Name: "Held" })).UUID;
    expect((await settledFunction(acme, model)).Status).toBe("ok");
    const made = { Name: "everybody", Visibility: "public" };
    const catalogue = (await acme("POST", "/cpt/catalogues", made)).body.UUID;
    await acme("PUT", `/cpt/catalogue/${catalogue}/function/${model}`);
    const [own, theirs] = [await deviceOf(acme), await deviceOf(other)];
    expect((await acme("PUT", own.pipelines, [{ modelUUID: model }])).status).toBe(200);
    expect((await other("PUT", theirs.pipelines, [{ modelUUID: model }])).status).toBe(200);
    expect((await acme("DELETE", `/cpt/function/${model}`)).body.Code).toBe("function.deployed");
    await acme("PUT", own.pipelines, []);
    expect((await acme("DELETE", `/cpt/function/${model}`)).status).toBe(200);
    const { db } = casemate.control;
    await sql`update functions set withdrawn_at = now() - interval '91 days' where id = ${model}`.execute(
      db.run,
    );
    await sweptAway(model);
    expect((await usage(acme)).StorageBytes).toBe(0);
    // It is asked for nothing that is not there, and what is wanted can be changed.
    const { Manifest } = (await theirs.edge("GET", `/dev/server/${theirs.server}/state`)).body;
    expect(Manifest.Artefacts).toEqual([]);
    expect((await other("PUT", theirs.pipelines, [])).status).toBe(200);
  });

  it("of a pipeline that is saved and a model that is given up at the same moment, one sees the other", async () => {
    const there = await deviceOf(other);
    const own = await deviceOf(acme);
    for (let round = 0; round < 3; round++) {
      const model = (await upload(casemate.url, acme, FILE.bytes, { Name: "Racing" })).UUID;
      expect((await settledFunction(acme, model)).Status).toBe("ok");
      const [saved, removed] = await Promise.all([
        acme("PUT", own.pipelines, [{ modelUUID: model }]),
        acme("DELETE", `/cpt/function/${model}`),
      ]);
      expect([
        [200, 409],
        [422, 200],
      ]).toContainEqual([saved.status, removed.status]);
      await acme("PUT", own.pipelines, []);
      await acme("DELETE", `/cpt/function/${model}`);
    }
    expect((await other("GET", there.pipelines)).body).toEqual([]);
  });

  async function deviceOf(caller: Caller) {
    const site = (await caller("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
    const RegistrationToken = (await caller("POST", "/dev/registration-tokens", { SystemId: site })).body
      .Token;
    const asked = { ServerId: randomUUID(), RegistrationToken };
    const { Key } = (await casemate.anyone("POST", "/dev/plugin/register", asked)).body;
    const edge = callerOf(casemate.url, Key);
    await edge("PUT", `/dev/server/${asked.ServerId}/reported`, { Version: 0, Facts: FACTS });
    const device = (await caller("POST", "/dev/devices", { Name: "Gate", Server: asked.ServerId })).body.UUID;
    return { edge, server: asked.ServerId, pipelines: `/dev/device/${device}/pipelines` };
  }

  /** Control sweeps by itself too, and may have been first. */
  async function sweptAway(model: string): Promise<void> {
    await sweepWithdrawn(casemate.control.db);
    const { rows } = await sql`select 1 from functions where id = ${model}`.execute(casemate.control.db.run);
    expect(rows).toEqual([]);
  }
});
