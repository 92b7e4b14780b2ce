// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DEVICES } from "#contract/devices/index.ts";
import {
  type Caller,
  callerOf,
  type Installation,
  startInstallation,
  type Tenant,
} from "#testing/installation.ts";

let casemate: Installation;
let acme: Caller & Tenant;
let stranger: Caller & Tenant;
let site: string;
beforeAll(async () => {
  casemate = await startInstallation({
    ...{ withHost: false, config: { identity: { requestsPerMinute: null } } },
  });
  [acme, stranger] = await Promise.all([casemate.tenant("acme"), casemate.tenant("stranger")]);
});
afterAll(() => casemate[Symbol.asyncDispose]());
beforeEach(async () => {
  site = (await acme("POST", "/dev/systems", { Name: "Harbour" })).body.ID;
});

const tokenFor = async (options: object = {}): Promise<string> =>
  (await acme("POST", "/dev/registration-tokens", { SystemId: site, ...options })).body.Token;
const register = (body: object) =>
  casemate.anyone("POST", "/dev/plugin/register", { ServerId: randomUUID(), SystemId: site, ...body });

interface Edge {
  id: string;
  call: Caller;
  key: string;
}
const enrol = async (): Promise<Edge> => {
  const { body } = await register({ RegistrationToken: await tokenFor() });
  return { id: body.ServerId, key: body.Key, call: callerOf(casemate.url, body.Key) };
};
const FACTS = {
  Version: "6.1.2",
  AIPluginVersion: "4.6.0",
  AvailableRuntimes: [{ Name: "cpu", Version: "1.30.0", Targets: ["application/x-onnx"] }],
  Supports: { Pipelines: true },
};

const SOURCE = { os: "linux", cores: 4, hardened: true, note: null };

describe("letting servers in", () => {
  it("a registration token lets in one server, and not a second one", async () => {
    const RegistrationToken = await tokenFor();
    const first = await register({ RegistrationToken });
    expect([first.status, first.body.Key]).toEqual([201, expect.stringMatching(/^cm_edge_/)]);
    const second = await register({ RegistrationToken });
    expect([second.status, second.body.Code]).toEqual([403, "registration.refused"]);
    expect((await acme("GET", `/dev/system/${site}/servers`)).body).toHaveLength(1);
  });

  it("a registration token says which site it is for, and without one the site is to be named", async () => {
    const RegistrationToken = await tokenFor();
    const entered = await register({ SystemId: undefined, RegistrationToken });
    expect([entered.status, entered.body.SystemId]).toEqual([201, site]);
    const nowhere = await register({ SystemId: undefined });
    expect([nowhere.status, nowhere.body.Message]).toEqual([400, expect.stringContaining("SystemId")]);
    const elsewhere = await register({ SystemId: randomUUID(), RegistrationToken: await tokenFor() });
    expect([elsewhere.status, elsewhere.body.Code]).toEqual([403, "registration.refused"]);
  });

  it("a device with a token of its own comes in with a server of its own, whose key is shown once", async () => {
    const ask = async (more: object = {}) => ({
      ...{ Name: "Lamp post 7", Serial: "LP-7", Type: "camera", Runtime: "cpu" },
      ...{ RegistrationToken: await tokenFor(), ...more },
    });
    const asked = await ask();
    const made = await acme("POST", "/dev/devices", asked);
    expect([made.status, made.body.Key]).toEqual([201, expect.stringMatching(/^cm_edge_/)]);
    expect(made.body).toMatchObject({
      Name: "Lamp post 7",
      Serial: "LP-7",
      Runtime: "cpu",
      System: { ID: site },
    });
    const own = callerOf(casemate.url, made.body.Key);
    const state = (await own("GET", `/dev/server/${made.body.Server.ID}/state`)).body;
    expect(state.Desired).toMatchObject({ Runtime: "cpu", Devices: [{ UUID: made.body.UUID }] });
    expect((await acme("GET", `/dev/device/${made.body.UUID}`)).body.Key).toBeUndefined();

    const refused = async (caller: Caller, body: object) =>
      (await caller("POST", "/dev/devices", body)).body.Code;
    expect(await refused(acme, asked)).toBe("registration.refused");
    expect(await refused(stranger, await ask())).toBe("registration.refused");
    expect(await refused(acme, await ask({ Server: made.body.Server.ID }))).toBe("request.invalid");
    expect(await refused(acme, { Name: "nowhere" })).toBe("request.invalid");
    // Of what was refused nothing is left: neither a server nor a use of the token.
    expect((await acme("GET", `/dev/system/${site}/servers`)).body).toHaveLength(1);
    const path = `/dev/device/${made.body.UUID}`;
    expect((await acme("PATCH", path, { Runtime: "gpu" })).body.Code).toBe("server.runtime");
    expect((await acme("PATCH", path, { Serial: "LP-8" })).body.Serial).toBe("LP-8");
    const many = await Promise.all(
      Array.from({ length: 6 }, async (_, at) =>
        acme("POST", "/dev/devices", await ask({ Serial: `S${at}` })),
      ),
    );
    expect(many.map(({ status }) => status)).toEqual(Array(6).fill(201));
  });

  it("of fifty who use a token for three at once, three are let in", async () => {
    const RegistrationToken = await tokenFor({ MaxUses: 3 });
    const replies = await Promise.all(Array.from({ length: 50 }, () => register({ RegistrationToken })));
    expect(replies.filter(({ status }) => status === 201)).toHaveLength(3);
    expect((await acme("GET", `/dev/system/${site}/servers`)).body).toHaveLength(3);
  });

  it("a server whose answer was lost gets another key, and the lost one opens nothing", async () => {
    const RegistrationToken = await tokenFor();
    const ServerId = randomUUID();
    const lost = (await register({ ServerId, RegistrationToken })).body.Key;
    const again = await register({ ServerId, RegistrationToken });
    expect(again.status).toBe(201);
    const path = `/dev/server/${ServerId}/state`;
    expect((await callerOf(casemate.url, lost)("GET", path)).status).toBe(401);
    expect((await callerOf(casemate.url, again.body.Key)("GET", path)).status).toBe(200);
    // It was heard of: whoever finds the token now does not become it.
    expect((await register({ ServerId, RegistrationToken })).status).toBe(403);
    const other = await register({ ServerId, RegistrationToken: await tokenFor() });
    expect([other.status, other.body.Code]).toEqual([409, "server.exists"]);
  });

  it("a token that is too old, revoked, or of another site lets nobody in, and does not say why", async () => {
    const old = await tokenFor({ ExpiresAt: "2020-01-01T00:00:00Z" });
    const made = (await acme("POST", "/dev/registration-tokens", { SystemId: site })).body;
    expect((await stranger("DELETE", `/dev/registration-token/${made.ID}`)).status).toBe(404);
    expect((await acme("DELETE", `/dev/registration-token/${made.ID}`)).status).toBe(200);
    const elsewhere = (await acme("POST", "/dev/systems", { Name: "Elsewhere" })).body.ID;
    const answers = await Promise.all([
      register({ RegistrationToken: old }),
      register({ RegistrationToken: made.Token }),
      register({ RegistrationToken: await tokenFor(), SystemId: elsewhere }),
      register({ RegistrationToken: "cm_site_nothing" }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([403, 403, 403, 403]);
    expect(new Set(answers.map(({ body }) => body.Message)).size).toBe(1);
  });

  it("a server that asks is let in by whoever types its code, once, and by nobody else", async () => {
    const ServerId = randomUUID();
    const asked = await register({ ServerId, Source: SOURCE });
    expect([asked.status, asked.body.Code]).toEqual([202, expect.stringMatching(/^[B-Z]{4}-[B-Z]{4}$/)]);
    const poll = () => casemate.anyone("GET", asked.body.PollURL);
    expect((await poll()).status).toBe(202);
    const claims = await acme("GET", `/dev/system/${site}/claims`);
    expect(claims.body).toEqual([{ ServerId, Source: SOURCE, ExpiresAt: asked.body.ExpiresAt }]);

    const Code = asked.body.Code.toLowerCase();
    expect((await stranger("POST", `/dev/system/${site}/claims`, { Code })).status).toBe(404);
    const theirs = (await stranger("POST", "/dev/systems", { Name: "Theirs" })).body.ID;
    expect((await stranger("POST", `/dev/system/${theirs}/claims`, { Code })).status).toBe(404);
    const approved = await acme("POST", `/dev/system/${site}/claims`, { Code, Name: "Quay" });
    expect([approved.status, approved.body.ID, approved.body.Name]).toEqual([200, ServerId, "Quay"]);
    expect((await acme("POST", `/dev/system/${site}/claims`, { Code })).status).toBe(404);

    const { body } = await poll();
    expect((await callerOf(casemate.url, body.Key)("GET", `/dev/server/${ServerId}/state`)).status).toBe(200);
    // The secret of the claim is no second key to a server that is there.
    expect((await poll()).body.Code).toBe("server.exists");
  });

  it("asking at a site that is not there is answered alike", async () => {
    const asked = await register({ SystemId: randomUUID() });
    expect(Object.keys(asked.body).sort()).toEqual(["Code", "ExpiresAt", "PollURL", "ServerId"]);
    expect((await casemate.anyone("GET", asked.body.PollURL)).status).toBe(202);
    expect((await casemate.anyone("GET", `/dev/plugin/claim/${"x".repeat(40)}`)).status).toBe(404);
  });
});

describe("servers and what they are told", () => {
  it("a server's key opens its own state and reports, and nothing of anybody else", async () => {
    const [mine, other] = [await enrol(), await enrol()];
    for (const path of [`/dev/server/${other.id}/state`, `/dev/server/${randomUUID()}/state`])
      expect((await mine.call("GET", path)).body.Code).toBe("server.not-found");
    const rest = ["/dev/systems", "/dev/devices", `/dev/server/${mine.id}`, "/cdb/organizations"];
    for (const path of rest) expect([path, (await mine.call("GET", path)).status]).toEqual([path, 401]);
    const others = ["/v1/sessions", "/api/v1/workloads/list", "/platform/v1/hosts", "/v2/"];
    for (const path of others)
      expect([path, [401, 403].includes((await mine.call("GET", path)).status)]).toEqual([path, true]);
    // And nobody else's token opens a server's.
    for (const call of [acme, stranger, casemate.anyone, callerOf(casemate.url, casemate.adminKey)])
      for (const [method, path, body] of [
        ["GET", "state", undefined],
        ["PUT", "reported", { Version: 1 }],
        ["POST", "devices", { Name: "x", Serial: "1" }],
      ] as const)
        expect((await call(method, `/dev/server/${mine.id}/${path}`, body)).status).toBe(401);
  });

  it("who waits for a change is told of it at once, and nobody of what is another server's", async () => {
    const [mine, other] = [await enrol(), await enrol()];
    const path = `/dev/server/${mine.id}/state`;
    const now = await mine.call("GET", path);
    const tag = { "if-none-match": now.headers.get("etag")! };
    expect((await mine.call("GET", path, undefined, tag)).status).toBe(304);
    const waiting = mine.call("GET", `${path}?wait=30`, undefined, tag);
    const others = other.call("GET", `/dev/server/${other.id}/state?wait=2`, undefined, {
      "if-none-match": (await other.call("GET", `/dev/server/${other.id}/state`)).headers.get("etag")!,
    });
    const made = await acme("POST", "/dev/devices", { Name: "Gate", Server: mine.id });
    expect(made.status).toBe(201);
    const told = await waiting;
    expect([told.status, told.body.Version]).toEqual([200, now.body.Version + 1]);
    expect(told.body.Desired.Devices).toEqual([
      {
        UUID: made.body.UUID,
        NxID: made.body.NxID,
        Name: "Gate",
        Enabled: true,
        Active: false,
        PipelinesVersion: 0,
        Pipelines: [],
      },
    ]);
    expect((await others).status).toBe(304);
  });

  it("what a server reports is shown, and a runtime is selected among those it has", async () => {
    const edge = await enrol();
    const before = (await acme("GET", `/dev/server/${edge.id}`)).body;
    expect([before.Status, before.Health]).toEqual(["offline", "unknown"]);
    expect((await acme("PUT", `/dev/server/${edge.id}/runtime`, { Runtime: "cpu" })).status).toBe(422);
    const report = { Version: 1, Health: "ok", Facts: FACTS, Errors: ["lens dirty"] };
    expect((await edge.call("PUT", `/dev/server/${edge.id}/reported`, report)).status).toBe(200);
    const { body } = await acme("GET", `/dev/server/${edge.id}`);
    expect(body).toMatchObject({
      Status: "online",
      Health: "ok",
      ReportedVersion: 1,
      Errors: ["lens dirty"],
    });
    expect(body.AvailableRuntimes).toEqual(FACTS.AvailableRuntimes);
    const selected = await acme("PUT", `/dev/server/${edge.id}/runtime`, { Runtime: "cpu" });
    expect(selected.body).toMatchObject({ RuntimeWanted: "cpu", DesiredVersion: 2 });
    const state = await edge.call("GET", `/dev/server/${edge.id}/state`);
    expect(state.body).toMatchObject({ Version: 2, Desired: { Runtime: "cpu" } });
    expect((await acme("GET", `/dev/system/${site}`)).body).toMatchObject({
      Status: "online",
      ServerCount: 1,
    });
  });

  it("its owner's settings reach a server with its wish, and it is told what it has not reported of that", async () => {
    const edge = await enrol();
    const gate = (await acme("POST", "/dev/devices", { Name: "Gate", Server: edge.id })).body.UUID;
    const Settings = { TelemetrySeconds: 60 };
    const before = (await acme("GET", `/dev/server/${edge.id}`)).body;
    expect(before.Settings).toEqual({});
    const DesiredVersion = before.DesiredVersion + 1;
    const changed = await acme("PATCH", `/dev/server/${edge.id}`, { Settings });
    expect(changed.body).toMatchObject({ Settings, DesiredVersion });
    for (const [body, status] of [
      [{}, 400],
      [{ Settings: { TelemetrySeconds: -1 } }, 400],
      [{ Settings: { Volume: 11 } }, 400],
    ] as const)
      expect((await acme("PATCH", `/dev/server/${edge.id}`, body)).status).toBe(status);
    expect((await stranger("PATCH", `/dev/server/${edge.id}`, { Settings })).status).toBe(404);
    const { Version, Desired } = (await edge.call("GET", `/dev/server/${edge.id}/state`)).body;
    expect([Version, Desired.Settings]).toEqual([DesiredVersion, Settings]);

    const report = async (Reported: object) =>
      (await edge.call("PUT", `/dev/server/${edge.id}/reported`, { Version, Reported })).body;
    const Devices = [{ UUID: gate, PipelinesVersion: 0 }];
    expect(await report({})).toEqual({ DesiredVersion, Delta: { Settings, Devices } });
    expect(await report({ Settings, Devices: { [gate]: 0, gone: 4 } })).toEqual({
      DesiredVersion,
      Delta: { Surplus: ["gone"] },
    });
    expect((await report({ Settings, Devices: { [gate]: 0 } })).Delta).toEqual({});
    expect((await report({ Settings: [], Devices: null })).Delta).toEqual({ Settings, Devices });
    // A rename changes nothing of what it is to do.
    const renamed = await acme("PATCH", `/dev/server/${edge.id}`, { Name: "Gate house" });
    expect(renamed.body).toMatchObject({ Name: "Gate house", Settings, DesiredVersion });
  });

  it("a server that is put out has no key any more, and its devices are gone", async () => {
    const edge = await enrol();
    const device = (await acme("POST", "/dev/devices", { Name: "Gate", Server: edge.id })).body.UUID;
    expect((await acme("DELETE", `/dev/system/${site}`)).body.Code).toBe("site.not-empty");
    expect((await stranger("DELETE", `/dev/server/${edge.id}`)).status).toBe(404);
    expect((await acme("DELETE", `/dev/server/${edge.id}`)).status).toBe(200);
    expect((await edge.call("GET", `/dev/server/${edge.id}/state`)).status).toBe(401);
    expect((await acme("GET", `/dev/device/${device}`)).status).toBe(404);
    expect((await acme("DELETE", `/dev/system/${site}`)).status).toBe(200);
    expect((await acme("GET", `/dev/system/${site}`)).status).toBe(404);
  });
});

it("devices that are added while their server is put out are added or refused, never neither", async () => {
  for (let round = 0; round < 5; round++) {
    const edge = await enrol();
    const add = (n: number) =>
      acme("POST", "/dev/devices", { Name: "Gate", Server: edge.id, Serial: String(n) });
    const tell = (n: number) =>
      edge.call("POST", `/dev/server/${edge.id}/devices`, { Name: "cam", Serial: `own${n}` });
    const replies = await Promise.all([
      ...Array.from({ length: 6 }, (_, n) => add(n)),
      acme("DELETE", `/dev/server/${edge.id}`),
      ...Array.from({ length: 6 }, (_, n) => tell(n)),
    ]);
    for (const { status, text } of replies) expect([200, 201, 401, 404], text).toContain(status);
    expect((await acme("GET", `/dev/system/${site}/devices`)).body).toEqual([]);
    expect((await acme("GET", `/dev/system/${site}`)).body.DeviceCount).toBe(0);
  }
});

describe("what is no request of theirs", () => {
  const ours = DEVICES.filter(({ access }) => access !== "bearer");
  it.each(ours.map((one) => [one.id, one] as const))(
    "%s answers 4xx in this API's form",
    async (_id, one) => {
      const edge = await enrol();
      const path = one.path
        .replace(":id", edge.id)
        .replace(":secret", "x".repeat(32))
        .replace(":artifact", randomUUID());
      const type = { "content-type": "application/json" };
      for (const body of [
        "{",
        '"x"',
        "null",
        "[]",
        `${'{"a":'.repeat(1000)}1${"}".repeat(1000)}`,
        '{"Version":-1}',
      ]) {
        if (one.bodyKind !== "json") continue;
        const reply = await edge.call(one.method, path, body, type);
        expect([body.slice(0, 20), reply.status]).toEqual([body.slice(0, 20), 400]);
        expect(reply.body).toMatchObject({ Message: expect.any(String), Code: expect.any(String) });
      }
      const big = await edge.call(
        one.method,
        path,
        one.bodyKind === "json" ? "x".repeat(one.bodyLimit + 1) : undefined,
        type,
      );
      expect([200, 304, 404, 413]).toContain(big.status);
      if (one.bodyKind === "json") expect(big.status).toBe(413);
    },
  );

  it("a date that is none is refused", async () => {
    const asked = { SystemId: site, ExpiresAt: "2027-13-40T00:00:00Z" };
    expect((await acme("POST", "/dev/registration-tokens", asked)).status).toBe(400);
  });
});

describe("devices and groups", () => {
  it("another tenant's are not there", async () => {
    const edge = await enrol();
    const device = (await acme("POST", "/dev/devices", { Name: "Gate", Server: edge.id })).body.UUID;
    const group = (await acme("POST", "/dev/groups", { Name: "Gates" })).body.UUID;
    const theirs = (await stranger("POST", "/dev/groups", { Name: "Theirs" })).body.UUID;
    const calls: [string, string, object?][] = [
      ["GET", `/dev/system/${site}`],
      ["PATCH", `/dev/system/${site}`, { Name: "x" }],
      ["DELETE", `/dev/system/${site}`],
      ["GET", `/dev/system/${site}/servers`],
      ["GET", `/dev/system/${site}/devices`],
      ["GET", `/dev/system/${site}/claims`],
      ["POST", "/dev/registration-tokens", { SystemId: site }],
      ["GET", `/dev/server/${edge.id}`],
      ["PATCH", `/dev/server/${edge.id}`, { Name: "x" }],
      ["PUT", `/dev/server/${edge.id}/runtime`, { Runtime: "cpu" }],
      ["POST", "/dev/devices", { Name: "x", Server: edge.id }],
      ["GET", `/dev/device/${device}`],
      ["PATCH", `/dev/devices/${device}`, { Name: "x" }],
      ["DELETE", `/dev/device/${device}`],
      ["PATCH", `/dev/group/${group}`, { Name: "x" }],
      ["DELETE", `/dev/group/${group}`],
      ["POST", `/dev/group/${theirs}/devices`, { Devices: [device] }],
      ["POST", `/dev/group/${group}/devices`, { Devices: [device] }],
      ["DELETE", `/dev/device/${device}/group/${group}`],
    ];
    for (const [method, path, body] of calls)
      expect([method, path, (await stranger(method, path, body)).status]).toEqual([method, path, 404]);
    expect(
      (await stranger("GET", "/dev/systems")).body.map((each: { Name: string }) => each.Name),
    ).not.toContain("Harbour");
    for (const path of ["/dev/devices", `/dev/devices?System=${site}`, `/dev/devices?Server=${edge.id}`])
      expect([path, (await stranger("GET", path)).body]).toEqual([path, []]);
    expect((await acme("GET", `/dev/device/${device}`)).body.Name).toBe("Gate");
  });

  it("a device of the same serial is told of twice and there once, with the name its owner gave it", async () => {
    const edge = await enrol();
    const tell = () => edge.call("POST", `/dev/server/${edge.id}/devices`, { Name: "cam0", Serial: "SN1" });
    const both = await Promise.all([tell(), tell()]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 201]);
    const { UUID } = both[0].body;
    expect(both[1].body.UUID).toBe(UUID);
    await acme("PATCH", `/dev/device/${UUID}`, { Name: "Gate north", Active: true });
    expect((await tell()).body).toMatchObject({ UUID, Name: "Gate north", Active: true });
    const twice = await acme("POST", "/dev/devices", { Name: "x", Server: edge.id, Serial: "SN1" });
    expect([twice.status, twice.body.Field.Name]).toEqual([409, "Serial"]);
  });

  it("devices that are added at several servers of a site at once are all there, and counted", async () => {
    const edges = await Promise.all([enrol(), enrol(), enrol(), enrol()]);
    const adding = Array.from({ length: 24 }, (_, at) =>
      acme("POST", "/dev/devices", { Name: `cam${at}`, Server: edges[at % 4]!.id }),
    );
    expect((await Promise.all(adding)).map(({ status }) => status)).toEqual(Array(24).fill(201));
    expect((await acme("GET", `/dev/system/${site}`)).body.DeviceCount).toBe(24);
  });

  it("of two who change the same version, the second is told, and without If-Match the last one wins", async () => {
    const edge = await enrol();
    const made = await acme("POST", "/dev/devices", { Name: "Gate", Server: edge.id });
    const path = `/dev/device/${made.body.UUID}`;
    const headers = { "if-match": made.headers.get("etag")! };
    const replies = await Promise.all(["a", "b"].map((Name) => acme("PATCH", path, { Name }, headers)));
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 412]);
    expect((await acme("PATCH", path, { Name: "c" })).status).toBe(200);
    const now = await acme("GET", path);
    expect(now.body.Name).toBe("c");
    const same = { "if-none-match": now.headers.get("etag")! };
    expect((await acme("GET", path, undefined, same)).status).toBe(304);
  });

  it("a copy is old as soon as anything that is shown of it is, and that fails nobody's change", async () => {
    const edge = await enrol();
    const made = await acme("POST", "/dev/devices", { Name: "Gate", Server: edge.id });
    const group = (await acme("POST", "/dev/groups", { Name: "Gates" })).body.UUID;
    const paths = [
      ...[`/dev/system/${site}`, `/dev/server/${edge.id}`, `/dev/device/${made.body.UUID}`],
      `/dev/group/${group}`,
    ];
    const tagOf = async (path: string) => (await acme("GET", path)).headers.get("etag")!;
    const again = async (path: string, tag: string) =>
      (await acme("GET", path, undefined, { "if-none-match": tag })).status;
    const tags = await Promise.all(paths.map(tagOf));
    expect(await Promise.all(paths.map((path, at) => again(path, tags[at]!)))).toEqual([304, 304, 304, 304]);
    // The server comes, which changes what is shown of its site and its device; a device comes into the group.
    await edge.call("PUT", `/dev/server/${edge.id}/reported`, { Version: 0, Health: "ok", Facts: FACTS });
    expect((await acme("POST", `/dev/group/${group}/devices`, [made.body.UUID])).status).toBe(200);
    expect(await Promise.all(paths.map((path, at) => again(path, tags[at]!)))).toEqual([200, 200, 200, 200]);
    for (const [at, path] of paths.entries()) {
      const headers = { "if-match": tags[at]! };
      const both = await Promise.all(["a", "b"].map((Name) => acme("PATCH", path, { Name }, headers)));
      expect([path, both.map(({ status }) => status).sort()]).toEqual([path, [200, 412]]);
      expect(both.find(({ status }) => status === 200)!.headers.get("etag")).not.toBe(tags[at]);
      expect((await acme("PATCH", path, { Name: "c" }, { "if-match": "*" })).status).toBe(200);
    }
    const stale = { "if-match": tags[1]! };
    const runtime = await acme("PUT", `/dev/server/${edge.id}/runtime`, { Runtime: "cpu" }, stale);
    expect(runtime.status).toBe(412);
  });

  it("shows how it is: as its server is, but for a wish of which its own part did not run", async () => {
    const edge = await enrol();
    const add = async (Name: string) =>
      (await acme("POST", "/dev/devices", { Name, Server: edge.id })).body.UUID as string;
    const [bad, good] = [await add("bad"), await add("good")];
    const shown = async () => {
      const all = (await acme("GET", `/dev/system/${site}/devices`)).body;
      return Object.fromEntries(
        all.map((one: Record<string, unknown>) => [
          one.Name,
          [one.Health, one.DesiredVersion, one.ReportedVersion],
        ]),
      );
    };
    const say = (body: object) =>
      edge.call("PUT", `/dev/server/${edge.id}/reported`, { Version: 3, ...body });
    expect(await shown()).toEqual({ bad: ["unknown", 3, 0], good: ["unknown", 3, 0] });
    await say({ Health: "ok" });
    expect(await shown()).toEqual({ bad: ["ok", 3, 3], good: ["ok", 3, 3] });
    await say({ Health: "degraded", Tried: 4, FailedDevices: [bad] });
    expect(await shown()).toEqual({ bad: ["failed", 3, 3], good: ["ok", 3, 3] });
    await say({ Health: "degraded", Tried: 4 });
    expect(await shown()).toEqual({ bad: ["degraded", 3, 3], good: ["degraded", 3, 3] });
    const { NxID, V2 } = (await acme("GET", `/dev/device/${good}`)).body;
    expect(V2).toEqual({ id: NxID });
  });

  it("lists page through all in a stable order, filtered, and say how many there are", async () => {
    const edge = await enrol();
    for (let n = 0; n < 7; n++)
      await acme("POST", "/dev/devices", {
        Name: `cam${n % 3}`,
        Server: edge.id,
        Tags: n % 2 ? ["odd"] : [],
      });
    const path = `/dev/system/${site}/devices`;
    const seen: string[] = [];
    for (let offset = 0; offset < 7; offset += 3) {
      const page = await acme("GET", `${path}?limit=3&offset=${offset}&OrderBy=-Name`);
      expect(page.headers.get("x-pagination-records")).toBe("7");
      seen.push(...page.body.map((each: { UUID: string }) => each.UUID));
    }
    expect(new Set(seen).size).toBe(7);
    const odd = await acme("GET", `${path}?Tag=odd&limit=1`);
    expect([odd.body.length, odd.headers.get("x-pagination-records")]).toEqual([1, "3"]);
    const beyond = await acme("GET", `${path}?offset=100`);
    expect([beyond.body, beyond.headers.get("x-pagination-records")]).toEqual([[], "7"]);
    expect((await acme("GET", `/dev/system/${site}`)).body.DeviceCount).toBe(7);
    expect((await acme("GET", `${path}?OrderBy=password`)).body.Field.Name).toBe("OrderBy");
    const { body } = await acme("GET", "/dev/devices/statistics");
    expect(body.Total).toBeGreaterThanOrEqual(7);
  });

  it("a group takes all devices of a call or none, and a device shows its groups", async () => {
    const edge = await enrol();
    const device = (await acme("POST", "/dev/devices", { Name: "Gate", Server: edge.id })).body.UUID;
    const group = (await acme("POST", "/dev/groups", { Name: "Gates" })).body.UUID;
    const some = await acme("POST", `/dev/group/${group}/devices`, { Devices: [device, randomUUID()] });
    expect(some.status).toBe(404);
    expect((await acme("GET", `/dev/devices?Group=${group}`)).body).toEqual([]);
    const all = await acme("POST", `/dev/group/${group}/devices`, { Devices: [device, device] });
    expect(all.body.DeviceCount).toBe(1);
    expect((await acme("GET", `/dev/device/${device}`)).body.Groups).toEqual([
      { UUID: group, Name: "Gates" },
    ]);
    expect((await acme("GET", `/dev/devices?Group=${group}`)).body).toHaveLength(1);
    await acme("DELETE", `/dev/device/${device}/group/${group}`);
    expect((await acme("GET", `/dev/device/${device}`)).body.Groups).toEqual([]);
  });
});
