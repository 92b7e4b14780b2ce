// SPDX-License-Identifier: Apache-2.0
/** The catalogue over HTTP: who sees what, what a form may be, versions, aliases, catalogues, leases. */
import { spawn } from "node:child_process";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MODELS } from "#contract/models/index.ts";
import { TARGETS } from "#models/job.ts";
import { counting, detector, detectorParts, modelOf } from "#models/testing.ts";
import { type Caller, type Installation, startInstallation, type Tenant } from "#testing/installation.ts";
import { describeWith } from "#testing/requirements.ts";
import { zipOf } from "#testing/zip.ts";
import { userNamespaces } from "../../core/models/testing.ts";
import { overConversion, sendForm, settledFunction, upload } from "./testing.ts";

const UPLOAD_MAX = 3_000_000;
const HAILO = "application/x-onnx; device=hailo";
const ids = (reply: { body: { UUID: string }[] }) => reply.body.map(({ UUID }) => UUID);

let casemate: Installation;
let acme: Caller & Tenant;
let other: Caller & Tenant;
beforeAll(async () => {
  casemate = await startInstallation({
    withHost: false,
    config: {
      identity: { requestsPerMinute: null },
      models: { uploadBytesMax: UPLOAD_MAX, timeoutMs: 90_000, leaseMs: 2_000 },
    },
  });
  [acme, other] = await Promise.all([casemate.tenant("acme"), casemate.tenant("other")]);
});
afterAll(() => casemate[Symbol.asyncDispose]());

const rowsOf = async (table: string) =>
  (
    await sql<{ n: number }>`select count(*)::int as n from ${sql.table(table)}`.execute(
      casemate.control.db.run,
    )
  ).rows[0]!.n;
const workLeft = () => readdirSync(join(casemate.connection.keyRing, "../work"));
const uploadsLeft = () => readdirSync(join(casemate.connection.keyRing, "../blobs/uploads"));

it("an upload that is repeated under its Idempotency-Key makes one model; with other bytes it is refused", async () => {
  const me = await casemate.tenant("repeater");
  const send = (bytes: Uint8Array, path = "/cpt/functions") =>
    sendForm(
      ...([casemate.url, me.key, "POST", path] as const),
      { data: { Name: "Once", EnableConversions: [] }, file: { name: "model.onnx", bytes } },
      { "idempotency-key": "once" },
    );
  const first = await send(detector());
  const again = await send(detector(), "/cpt/function");
  expect([first.status, again.status, again.text]).toEqual([201, 201, first.text]);
  expect(again.headers.get("idempotency-replayed")).toBe("true");
  const other = await send(detector((model) => (model.producerName = "other")));
  expect([other.status, (await me("GET", "/cpt/functions")).body.length]).toEqual([409, 1]);
  expect(uploadsLeft()).toEqual([]);
});

describe("a form", () => {
  const file = { name: "m.onnx", bytes: detector() };
  it.each<[string, { data?: unknown; file?: typeof file }, number, string]>([
    ["without a file", { data: { Name: "x" } }, 400, "request.invalid"],
    ["without data", { file }, 400, "request.invalid"],
    [
      "of a file of another kind",
      { data: { Name: "x" }, file: { ...file, name: "m.exe" } },
      400,
      "request.invalid",
    ],
    ["of data that is no JSON", { data: "{", file }, 400, "request.malformed"],
    ["of data without a name", { data: {}, file }, 400, "request.invalid"],
    ["of data with a member of nobody's", { data: { Name: "x", Nmae: "y" }, file }, 400, "request.invalid"],
    [
      "of a target of nobody's",
      { data: { Name: "x", EnableConversions: ["a/b"] }, file },
      400,
      "request.invalid",
    ],
    [
      "of a catalogue of nobody's",
      { data: { Name: "x", Catalogues: [randomUUID()] }, file },
      404,
      "catalogue.not-found",
    ],
    [
      "that is too large",
      { data: { Name: "x" }, file: { ...file, bytes: randomBytes(UPLOAD_MAX + 1) } },
      413,
      "request.too-large",
    ],
  ])("%s is refused, and nothing of it stays", async (_what, form, status, code) => {
    const before = await rowsOf("functions");
    const reply = await sendForm(casemate.url, acme.key, "POST", "/cpt/function", form);
    expect([reply.status, reply.body.Code]).toEqual([status, code]);
    expect([await rowsOf("functions"), uploadsLeft()]).toEqual([before, []]);
  });

  it("that is none is refused in the form of this surface", async () => {
    const headers = { "content-type": "text/plain" };
    expect((await acme("POST", "/cpt/functions", "hello", headers)).status).toBe(415);
    const boundary = { "content-type": "multipart/form-data; boundary=x" };
    for (const body of [
      "",
      "--x\r\n",
      "--x\r\ncontent-disposition: form-data; name=file; filename=a.onnx\r\n\r\nabc",
    ])
      expect([(await acme("POST", "/cpt/functions", body, boundary)).status, body]).toEqual([400, body]);
    expect(uploadsLeft()).toEqual([]);
  });

  it("whose sender goes away in the middle leaves nothing", async () => {
    const { hostname, port } = new URL(casemate.url);
    const socket = connect(Number(port), hostname);
    const head = `--x\r\ncontent-disposition: form-data; name="file"; filename="a.onnx"\r\n\r\n`;
    socket.write(
      `POST /cpt/functions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${acme.key}\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 1000000\r\n\r\n${head}${"a".repeat(100_000)}`,
    );
    await expect.poll(uploadsLeft).toHaveLength(1);
    socket.destroy();
    await expect.poll(uploadsLeft).toEqual([]);
  });
});

describeWith([userNamespaces], "models", () => {
  it("that cannot be read are told as such and not kept, while the API answers as before", async () => {
    const hostile: [string, Uint8Array, string][] = [
      ["m.onnx", randomBytes(1_000_000), "format.unreadable"],
      ["m.zip", zipOf([{ name: "m.onnx", bytes: Buffer.alloc(100_000_000) }]), "archive.bomb"],
      ["m.zip", zipOf([{ name: "../../m.onnx", bytes: detector() }]), "archive.unreadable"],
    ];
    const made = await Promise.all(
      hostile.map(([name, bytes]) => upload(casemate.url, acme, bytes, { Name: name }, name)),
    );
    for (const [index, { UUID }] of made.entries()) {
      expect(await settledFunction(acme, UUID)).toMatchObject({ Status: "error", Code: { CDNURI: "" } });
      const { body } = await acme("GET", `/cpt/function/${UUID}/validation`);
      expect([body.Conforms, body.Rules.map(({ Id }: { Id: string }) => Id)]).toEqual([
        false,
        [hostile[index]![2]],
      ]);
      const { rows } = await sql`
        select 1 from function_versions where function_id = ${UUID} and digest is not null
        union all select 1 from function_artifacts where function_id = ${UUID}`.execute(
        casemate.control.db.run,
      );
      expect(rows).toEqual([]);
    }
    await expect.poll(workLeft).toEqual([]);
  });

  it("of one tenant are not there for another, in no operation", async () => {
    const { UUID } = await upload(casemate.url, acme, detector(), { Name: "Secret" });
    await settledFunction(acme, UUID);
    const [artifact] = (await acme("GET", `/cpt/function/${UUID}/artifacts`)).body;
    const [job] = (await acme("GET", `/cpt/function/${UUID}/conversions`)).body;
    const ours: Record<string, string> = { conversion: job.UUID, artifact: artifact.UUID };
    for (const { method, path, bodyKind, example } of MODELS) {
      if (!path.includes(":uuid") || path.includes("/catalogue")) continue;
      const kind = /^\/cpt\/(\w+)\/:uuid/.exec(path)?.[1] ?? "";
      const at = path
        .replace(":uuid", ours[kind] ?? UUID)
        .replace(":number", "1")
        .replace(":name", "default");
      const body = { Targets: [TARGETS.onnx], Version: 1, inputs: [] };
      const fits = path.endsWith("/conversions")
        ? { Targets: body.Targets }
        : path.includes("/alias/")
          ? { Version: 1 }
          : {};
      const given = method === "GET" || method === "HEAD" || method === "DELETE" ? undefined : fits;
      const reply = await other(method, at, bodyKind === "none" ? undefined : (example?.body ?? given));
      expect([method, path, reply.status]).toEqual([method, path, 404]);
    }
    expect(ids(await other("GET", "/cpt/functions"))).not.toContain(UUID);
    // A page past the end is counted by a statement of its own, which must not count what is not shown.
    for (const query of ["q=secret", "q=secret&offset=7"])
      expect((await other("GET", `/cpt/functions?${query}`)).headers.get("x-pagination-records")).toBe("0");
    expect((await acme("GET", `/cpt/function/${UUID}`)).status).toBe(200);
    const head = await acme("HEAD", artifact.URL);
    expect([head.status, head.headers.get("content-length")]).toEqual([200, String(artifact.Size)]);
  });

  it("get versions; aliases are moved by hand, and default stays", async () => {
    const { UUID } = await upload(casemate.url, acme, detector(), { Name: "Growing", EnableConversions: [] });
    expect((await settledFunction(acme, UUID)).Status).toBe("ok");
    const path = `/cpt/function/${UUID}`;
    const tag = (await acme("GET", path)).headers.get("etag")!;
    const next = {
      data: { Name: "Grown", Notes: "second" },
      file: { name: "b.onnx", bytes: modelOf(detectorParts("x")) },
    };
    const changed = await sendForm(casemate.url, acme.key, "PATCH", path, next, { "if-match": tag });
    expect(changed.body).toMatchObject({ Name: "Grown", Version: 2, Aliases: { default: 1 } });
    expect((await sendForm(casemate.url, acme.key, "PATCH", path, next, { "if-match": tag })).status).toBe(
      412,
    );
    expect(uploadsLeft()).toEqual([]);
    expect((await settledFunction(acme, UUID)).Status).toBe("error");
    const versions = await acme("GET", `${path}/versions`);
    expect([
      versions.headers.get("x-pagination-records"),
      versions.body.map((one: { Number: number }) => one.Number),
    ]).toEqual(["2", [2, 1]]);
    expect((await acme("GET", `${path}/version/1`)).body.Validation.Conforms).toBe(true);
    expect((await acme("GET", `${path}/validation?Version=2`)).body.Conforms).toBe(false);
    expect((await acme("PUT", `${path}/alias/stable`, { Version: 1 })).body).toEqual({
      default: 1,
      stable: 1,
    });
    expect((await acme("PUT", `${path}/alias/default`, { Version: 2 })).body).toEqual({
      default: 2,
      stable: 1,
    });
    expect((await acme("PUT", `${path}/alias/stable`, { Version: 3 })).status).toBe(404);
    expect((await acme("DELETE", `${path}/alias/stable`)).body).toEqual({ default: 2 });
    expect((await acme("DELETE", `${path}/alias/default`)).status).toBe(400);
    expect((await acme("PATCH", path, { Tags: ["a"] })).body).toMatchObject({
      Name: "Grown",
      Tags: ["a"],
      Version: 2,
    });
    expect((await acme("DELETE", path)).body.UUID).toBe(UUID);
    expect((await acme("GET", path)).status).toBe(404);
  });

  it("a copy of a model that is still looked at is old when that is over, and changes by hand meanwhile are no conflict", async () => {
    const { UUID } = await upload(casemate.url, acme, detector(), { Name: "Polled", EnableConversions: [] });
    const path = `/cpt/function/${UUID}`;
    const first = await acme("GET", path);
    const tag = { "if-none-match": first.headers.get("etag")! };
    await settledFunction(acme, UUID);
    const now = await acme("GET", path, undefined, tag);
    // It may have been over before it was first asked for.
    expect(now.status === 304 ? first.body.Status : now.body.Status).toBe("ok");
    const settled = { "if-none-match": (await acme("GET", path)).headers.get("etag")! };
    expect((await acme("GET", path, undefined, settled)).status).toBe(304);
    await acme("PUT", `${path}/alias/stable`, { Version: 1 });
    expect((await acme("GET", path, undefined, settled)).status).toBe(200);
    const mine = { "if-match": settled["if-none-match"], "content-type": "application/json" };
    expect((await acme("PATCH", path, { Tags: ["a"] }, mine)).status).toBe(200);
    expect((await acme("PATCH", path, { Tags: ["b"] }, mine)).status).toBe(412);
    expect((await acme("GET", `${path}/artifacts`)).headers.get("x-pagination-records")).toBe("1");
  });

  it("who waits for a model or a conversion is answered when it is so, and at once when it stays as it is", async () => {
    const { UUID } = await upload(casemate.url, acme, detector(), { Name: "Awaited" });
    const path = `/cpt/function/${UUID}`;
    const settled = async () => {
      const { body } = await acme("GET", `${path}?wait=ok&timeout=20`);
      return body.Status;
    };
    await expect.poll(settled, { timeout: 110_000 }).toBe("ok");
    expect((await acme("GET", `${path}?wait=queued,error&timeout=300`)).body.Status).toBe("ok");
    const asked = { Targets: ["application/x-openvino"] };
    const [{ UUID: id }] = (await acme("POST", `${path}/conversions`, asked)).body;
    expect((await acme("GET", `/cpt/conversion/${id}?wait=ok&timeout=1`)).body.Status).toBe("queued");
    const waiting = acme("GET", `/cpt/conversion/${id}?wait=ended&timeout=60`);
    expect((await acme("DELETE", `/cpt/conversion/${id}`)).status).toBe(200);
    const { body, headers } = await waiting;
    expect(body.Status).toBe("cancelled");
    const copy = { "if-none-match": headers.get("etag")! };
    expect((await acme("GET", `/cpt/conversion/${id}?wait=ok`, undefined, copy)).status).toBe(304);
    for (const query of ["?wait=well", "?wait=ok&timeout=0", "?wait=ok,", "?timeout=301"])
      expect([query, (await acme("GET", `${path}${query}`)).status]).toEqual([query, 400]);
  });

  it("of two who change the same catalogue, the second is told", async () => {
    const made = await acme("POST", "/cpt/catalogues", { Name: "Traffic" });
    const path = `/cpt/catalogue/${made.body.UUID}`;
    const headers = { "if-match": made.headers.get("etag")! };
    const both = await Promise.all(["a", "b"].map((Name) => acme("PATCH", path, { Name }, headers)));
    expect(both.map(({ status }) => status).sort()).toEqual([200, 412]);
    const copy = { "if-none-match": (await acme("GET", path)).headers.get("etag")! };
    expect((await acme("GET", path, undefined, copy)).status).toBe(304);
    await acme("PATCH", path, { Visibility: "public" });
    expect((await acme("GET", path, undefined, copy)).status).toBe(200);
    const { UUID } = await upload(casemate.url, acme, detector(), { Name: "In it", EnableConversions: [] });
    await acme("PUT", `${path}/function/${UUID}`);
    for (const [who, spelling] of [
      [acme, path],
      [other, `/cpt/catalogues/${made.body.UUID}`],
    ] as const)
      expect((await who("GET", spelling)).body).toMatchObject({
        ...{ FunctionCount: 1, Functions: [{ UUID, Name: "In it", Status: expect.any(String) }] },
      });
    await acme("PATCH", path, { Visibility: "private" });
    expect((await other("GET", path)).status).toBe(404);
  });

  it("are found by what is asked for, and counted", async () => {
    const made = [];
    for (const Name of ["Alpha one", "Alpha two", "Beta"])
      made.push(
        await upload(casemate.url, other, detector(), {
          ...{ Name, Kind: "detector", EnableConversions: [], Customization: Name === "Beta" ? "brand" : "" },
          Tags: [Name],
        }),
      );
    for (const { UUID } of made) await settledFunction(other, UUID);
    const list = async (query: string) => {
      const reply = await other("GET", `/cpt/functions?${query}`);
      return [
        reply.headers.get("x-pagination-records"),
        reply.body.map(({ Name }: { Name: string }) => Name),
      ];
    };
    expect(await list("q=alpha&OrderBy=Name")).toEqual(["2", ["Alpha one", "Alpha two"]]);
    expect(await list("q=alpha&OrderBy=-Name&limit=1")).toEqual(["2", ["Alpha two"]]);
    expect(await list("q=alpha&OrderBy=Name&offset=5")).toEqual(["2", []]);
    expect(await list("Tag=Beta")).toEqual(["1", ["Beta"]]);
    expect(await list("Customization=brand")).toEqual(["1", ["Beta"]]);
    expect(await list("Kind=classifier")).toEqual(["0", []]);
    expect(await list("Status=ok&OrderBy=Name&Catalogue=00000000-0000-0000-0000-000000000000")).toEqual([
      "3",
      ["Alpha one", "Alpha two", "Beta"],
    ]);
    expect((await other("GET", "/cpt/functions?OrderBy=Secret")).status).toBe(400);
    const { body } = await other("GET", "/cpt/functions/statistics");
    expect(body).toMatchObject({ Total: 3, ByStatus: { ok: 3 } });
    expect(body.StorageBytes).toBe(3 * detector().length);
  });

  it("are shown by catalogues to those whom their owner names, who may use and not change them", async () => {
    const { UUID } = await upload(casemate.url, acme, detector(), { Name: "Shared" });
    await settledFunction(acme, UUID);
    const { body: catalogue } = await acme("POST", "/cpt/catalogues", { Name: "Traffic" });
    expect(catalogue).toMatchObject({ Visibility: "private", FunctionCount: 0 });
    const path = `/cpt/catalogue/${catalogue.UUID}`;
    expect((await acme("PUT", `${path}/function/${UUID}`)).body.FunctionCount).toBe(1);
    const seen = async () => [
      (await other("GET", path)).status,
      (await other("GET", `/cpt/function/${UUID}`)).status,
    ];
    expect(await seen()).toEqual([404, 404]);
    await acme("PATCH", path, { Visibility: "organization" });
    expect(await seen()).toEqual([404, 404]);
    await acme("PATCH", path, { Organisations: [other.organizationId] });
    expect(await seen()).toEqual([200, 200]);
    expect((await other("GET", path)).body.Organisations).toEqual([]);
    expect(ids(await other("GET", `/cpt/functions?Catalogue=${catalogue.UUID}`))).toEqual([UUID]);
    const [artifact] = (await other("GET", `/cpt/function/${UUID}/artifacts`)).body;
    expect((await other("GET", artifact.URL)).status).toBe(200);
    for (const [method, at, body] of [
      ["PATCH", `/cpt/function/${UUID}`, { Name: "Mine" }],
      ["DELETE", `/cpt/function/${UUID}`, undefined],
      ["POST", `/cpt/function/${UUID}/conversions`, { Targets: [TARGETS.int8] }],
      ["PUT", `/cpt/function/${UUID}/alias/a`, { Version: 1 }],
      ["PATCH", path, { Name: "Mine" }],
      ["DELETE", `${path}/function/${UUID}`, undefined],
      ["DELETE", path, undefined],
    ] as const)
      expect([method, at, (await other(method, at, body)).status]).toEqual([method, at, 403]);
    expect((await acme("DELETE", path)).body.Code).toBe("catalogue.not-empty");
    await acme("PATCH", path, { Visibility: "public", Organisations: [] });
    expect(await seen()).toEqual([200, 200]);
    await acme("DELETE", `${path}/function/${UUID}`);
    expect(await seen()).toEqual([200, 404]);
    expect((await acme("DELETE", path)).status).toBe(200);
    expect((await acme("POST", "/cpt/catalogues", { Name: "x", Organisations: [randomUUID()] })).status).toBe(
      404,
    );
  });

  it("are compiled by workers from outside, of which only the one with the lease is heard", async () => {
    const { UUID } = await upload(casemate.url, acme, detector(), { Name: "Compiled" });
    await settledFunction(acme, UUID);
    const [job] = (await acme("POST", `/cpt/function/${UUID}/conversions`, { Targets: [HAILO] })).body;
    const lease = (who: Caller) => who("POST", "/cpt/conversions/lease", { Targets: [HAILO] });
    expect((await lease(other)).status).toBe(204);
    const first = await lease(acme);
    expect(first.body).toMatchObject({ Conversion: { UUID: job.UUID, Status: "processing" } });
    expect((await lease(acme)).status).toBe(204);
    const source = await fetch(casemate.url + first.body.Source.URL, {
      headers: { authorization: `Bearer ${acme.key}` },
    });
    const sourceBytes = Buffer.from(await source.arrayBuffer());
    expect(createHash("sha256").update(sourceBytes).digest("hex")).toBe(first.body.Source.SHA256);
    const put = (who: Caller, Lease: string) =>
      who("PUT", `/cpt/conversion/${job.UUID}/artifact`, Buffer.from("compiled"), { "x-lease": Lease });
    expect((await put(acme, "x")).body.Code).toBe("conversion.lease");
    expect((await put(other, first.body.Lease)).status).toBe(404);
    // Its time is over: it is heard no more, whether another has the job by then or not.
    const over = async () => {
      const { rows } = await sql<{ over: boolean }>`
        select coalesce(lease_until < now(), true) as over from conversions where id = ${job.UUID}`.execute(
        casemate.control.db.run,
      );
      return rows[0]!.over;
    };
    await expect.poll(over, { timeout: 15_000 }).toBe(true);
    expect((await put(acme, first.body.Lease)).body.Code).toBe("conversion.lease");
    let second = first;
    const again = async () => {
      second = await lease(acme);
      return second.status;
    };
    await expect.poll(again, { timeout: 15_000 }).toBe(200);
    expect((await put(acme, first.body.Lease)).body.Code).toBe("conversion.lease");
    const done = await put(acme, second.body.Lease);
    expect(done).toMatchObject({ status: 201, body: { MediaType: HAILO, Size: 8 } });
    expect(await overConversion(acme, job.UUID)).toMatchObject({
      Status: "ok",
      Artifact: { UUID: done.body.UUID },
    });
    expect((await put(acme, second.body.Lease)).body.Code).toBe("conversion.lease");
  });

  it("are compiled by the worker of examples/, with a compiler of any kind", async () => {
    const { UUID } = await upload(casemate.url, acme, detector(), { Name: "By the example" });
    await settledFunction(acme, UUID);
    const target = "application/x-tensorrt";
    const [job] = (await acme("POST", `/cpt/function/${UUID}/conversions`, { Targets: [target] })).body;
    const worker = spawn(
      process.execPath,
      [
        "--disable-warning=ExperimentalWarning",
        new URL("../../../../examples/toolchain-worker.ts", import.meta.url).pathname,
        ...[target, "--once", "--", "cp", "{in}", "{out}"],
      ],
      {
        env: {
          ...process.env,
          CASEMATE_URL: casemate.url,
          CLIENT_ID: acme.clientId,
          CLIENT_SECRET: acme.clientSecret,
        },
        stdio: ["pipe", "ignore", "inherit"],
      },
    );
    try {
      const done = await overConversion(acme, job.UUID);
      const artifacts = (await acme("GET", `/cpt/function/${UUID}/artifacts`)).body;
      const source = artifacts.find(({ MediaType }: { MediaType: string }) => MediaType === TARGETS.onnx);
      expect(done).toMatchObject({ Status: "ok", Artifact: { MediaType: target, SHA256: source.SHA256 } });
    } finally {
      worker.stdin.end();
      worker.kill();
    }
  });

  it("conversions of them are cancelled, tried again, and not cancelled when they are over", async () => {
    const { UUID } = await upload(casemate.url, acme, detector(), { Name: "Slow", EnableConversions: [] });
    await settledFunction(acme, UUID);
    const [job] = (await acme("POST", `/cpt/function/${UUID}/conversions`, { Targets: [HAILO] })).body;
    const path = `/cpt/conversion/${job.UUID}`;
    expect((await acme("POST", `${path}/retry`)).body.Code).toBe("conversion.under-way");
    expect((await acme("DELETE", path)).body.UUID).toBe(job.UUID);
    expect((await acme("GET", path)).body.Status).toBe("cancelled");
    expect((await acme("DELETE", path)).body.Code).toBe("conversion.over");
    expect((await acme("POST", `${path}/retry`)).body.Status).toBe("queued");
    const targets = { Targets: ["application/x-nothing"] };
    expect((await acme("POST", `/cpt/function/${UUID}/conversions`, targets)).status).toBe(400);
  });

  it("of which a conversion is under way and cancelled are computed no further", async () => {
    const slow = counting(3_000_000n);
    const { UUID } = await upload(casemate.url, acme, slow, {
      Name: "Slow",
      EnableConversions: [TARGETS.onnx],
    });
    const job = async () => (await acme("GET", `/cpt/function/${UUID}/conversions`)).body[0];
    await expect
      .poll(async () => (await job())?.Status, { timeout: 90_000, interval: 50 })
      .toBe("processing");
    await expect.poll(workLeft).toHaveLength(1);
    const { UUID: id } = await job();
    expect((await acme("DELETE", `/cpt/conversion/${id}`)).status).toBe(200);
    // By itself it would compute for longer than this waits.
    await expect.poll(workLeft, { timeout: 12_000 }).toEqual([]);
    expect((await job()).Status).toBe("cancelled");
    expect((await acme("GET", `/cpt/function/${UUID}/artifacts`)).body).toHaveLength(1);
  }, 150_000);

  it("are told what is possible", async () => {
    const { body } = await acme("GET", "/cpt/configuration");
    expect(body).toMatchObject({ MaxUploadBytes: UPLOAD_MAX, MaxOpset: 17, Targets: Object.values(TARGETS) });
  });
});
