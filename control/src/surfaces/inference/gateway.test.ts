// SPDX-License-Identifier: Apache-2.0
/** The gateway between real clients and a real server of models; instances stand in the database as a create writes them. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { INFERENCE } from "#contract/inference/index.ts";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { INPUT_TOKENS, type ModelUpstream, startModelUpstream } from "#testing/model-upstream.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";
import { makeInstanceToken } from "../../core/identity/index.ts";
import { beginCall, reapCalls } from "./calls.ts";

const SECRET = "what nobody is to know";
const PRICES = { inputMicrosPerMillion: 1_000_000, outputMicrosPerMillion: 10_000_000 };
const LIMIT = 5_000_000;
const folder = mkdtempSync(join(tmpdir(), "casemate-gateway-"));
let upstream: ModelUpstream;
let casemate: Installation;
let admin: Caller;

const withUpstream = () => ({
  inferenceModel: "small",
  inference: {
    upstreams: [
      {
        ...{ name: "own", baseUrl: upstream.baseUrl, keyFile: join(folder, "key") },
        models: ["small", "large"].map((id) => ({ id, ...PRICES })),
      },
    ],
    ...{ allowNetworks: ["127.0.0.0/8"], spendLimitMicros: LIMIT, requestsPerMinute: null, idleMs: 1000 },
  },
});

beforeAll(async () => {
  upstream = await startModelUpstream();
  writeFileSync(join(folder, "key"), `${upstream.key}\n`);
  casemate = await startInstallation({
    withHost: false,
    config: {
      instances: { requestsPerMinute: 600, ...withUpstream() },
    },
  });
  admin = callerOf(casemate.url, casemate.adminKey);
});
beforeEach(() => {
  upstream.manner = {};
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const db = () => casemate.control.db.run;
const hex = () => randomBytes(16).toString("hex");
let tenants = 0;

interface Asker {
  id: string;
  account: string;
  name: string;
  token: string;
  owner: Caller;
  post: (path: string, body: unknown, signal?: AbortSignal) => Promise<Response>;
}

async function asker(): Promise<Asker> {
  const made = (await admin("POST", "/platform/v1/tenants", { name: `asker ${++tenants}` })).body;
  const [id, machine, name, account] = [`inst_${hex()}`, `mach_${hex()}`, hex().slice(0, 8), made.account_id];
  await sql`insert into machines (id, account_id, surface, host_id, spec, created_at)
    values (${machine}, ${account}, 'instances', 'none', '{"isolation":"vm"}', now())`.execute(db());
  await sql`insert into instances (id, account_id, machine_id, name, hostname, agent, public_key, inference_mode, inference_model,
      egress_limit_bytes, image_sha256, status)
    values (${id}, ${account}, ${machine}, ${name}, 'x', 'none', 'x', 'default_gateway', 'small', 5, ${"0".repeat(64)}, 'ready')`.execute(
    db(),
  );
  const token = await makeInstanceToken(db(), { account, instance: id, incarnation: 1 });
  const post = (path: string, body: unknown, signal?: AbortSignal) =>
    fetch(`${casemate.url}/inference/v1/${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: typeof body === "string" ? body : JSON.stringify(body),
      signal: signal ?? null,
    });
  return { id, account, name, token, owner: callerOf(casemate.url, made.api_key), post };
}

const chat = (more: object = {}) => ({ messages: [{ role: "user", content: SECRET }], ...more });
const callsOf = async ({ id }: Asker) =>
  (
    await sql<{
      operation: string;
      model: string;
      outcome: string | null;
      input: number;
      output: number;
      cost: number;
    }>`
      select operation, model, outcome, input_tokens as input, output_tokens as output, cost_micros as cost
      from inference_calls where instance_id = ${id} order by started_at`.execute(db())
  ).rows;
const spendOf = async ({ id }: Asker) =>
  (
    await sql<{ spent: number; held: number }>`
      select spent_micros as spent, held_micros as held from inference_spend where instance_id = ${id}`.execute(
      db(),
    )
  ).rows[0];
const ended = (asker: Asker, outcome: string) =>
  expect.poll(async () => (await callsOf(asker)).at(-1)?.outcome, { timeout: 15_000 }).toBe(outcome);
interface ReplyError {
  message: string;
  type: string;
  code: string | null;
  param: string | null;
}
const errorOf = async (reply: Response) =>
  [reply.status, ((await reply.json()) as { error: ReplyError }).error] as const;

describe("a call", () => {
  it("is answered as the model's server does, and charged for what that counted", async () => {
    const one = await asker();
    const reply = await one.post("chat/completions", chat({ temperature: 0.5 }));
    expect(reply.status).toBe(200);
    expect(await reply.json()).toMatchObject({ choices: [{ message: { content: "Hello, wörld 🌍!" } }] });
    expect(upstream.asked.at(-1)).toEqual({
      path: "/v1/chat/completions",
      body: { ...chat({ temperature: 0.5 }), model: "small" },
    });
    const counted = { outcome: "answered", input: INPUT_TOKENS, output: 4, cost: 51 };
    expect(await callsOf(one)).toEqual([{ operation: "chat", model: "small", ...counted }]);
    expect(await spendOf(one)).toEqual({ spent: 51, held: 0 });

    await (await one.post("completions", { prompt: "x", model: "large" })).json();
    await (await one.post("embeddings", { input: ["x", "y"] })).json();
    expect(await callsOf(one)).toMatchObject([
      {},
      { operation: "completions", model: "large", output: 4 },
      { operation: "embeddings", output: 0, cost: 11 },
    ]);
    const { body } = await one.owner("GET", `/v1/instances/${one.name}/usage`);
    expect(body.data.lifetime).toMatchObject({ inference_input_tokens: 33, inference_output_tokens: 8 });
    expect(await spendOf(one)).toEqual({ spent: 113, held: 0 });
  });

  it.each([1, 7, undefined])(
    "that is streamed in pieces of %s bytes is passed on, and counted without a word of it to who did not ask",
    async (splitBytes) => {
      const one = await asker();
      upstream.manner = { ...(splitBytes !== undefined && { splitBytes }), crlf: splitBytes === 7 };
      const reply = await one.post("chat/completions", chat({ stream: true }));
      expect(reply.headers.get("content-type")).toMatch(/^text\/event-stream/);
      const text = await reply.text();
      expect(text).toContain("wörld 🌍");
      expect(text).not.toContain("usage");
      expect(text.trimEnd().endsWith("data: [DONE]")).toBe(true);
      expect(upstream.asked.at(-1)!.body.stream_options).toEqual({ include_usage: true });
      await ended(one, "answered");
      expect(await callsOf(one)).toMatchObject([{ input: INPUT_TOKENS, output: 4, cost: 51 }]);

      const options = { stream: true, stream_options: { include_usage: true } };
      const counted = await (await one.post("completions", { prompt: "x", ...options })).text();
      expect(counted).toContain('"choices":[],"usage":{"prompt_tokens":11');
    },
  );

  it.each([
    ["while it is streamed", { stopsAfter: 2, stop: "alive" }, { stream: true }],
    ["before the first byte of the answer", { stop: "silence" }, {}],
  ] as const)(
    "whose client goes away %s ends at the model's server, and costs what is known",
    async (_when, manner, more) => {
      const one = await asker();
      upstream.manner = manner;
      const [before, known] = [upstream.abandoned, upstream.asked.length];
      const gone = new AbortController();
      const reply = one.post("chat/completions", chat(more), gone.signal);
      if ("stream" in more) await (await reply).body!.getReader().read();
      else await expect.poll(() => upstream.asked.length, { timeout: 15_000 }).toBeGreaterThan(known);
      gone.abort();
      await reply.catch(() => {});
      await expect.poll(() => upstream.abandoned, { timeout: 15_000 }).toBeGreaterThan(before);
      await ended(one, "cut");
      const [call] = await callsOf(one);
      expect(call!.input).toBeGreaterThan(0);
      expect(await spendOf(one)).toEqual({ spent: call!.cost, held: 0 });
    },
  );

  it.each(["silence", "cut"] as const)(
    "whose server stops in the middle (%s) is cut, and charged",
    async (stop) => {
      const one = await asker();
      upstream.manner = { stopsAfter: 3, stop };
      const reply = await one.post("chat/completions", chat({ stream: true }));
      await expect(reply.text()).rejects.toThrow();
      await ended(one, "cut");
      expect((await callsOf(one))[0]!.output).toBeGreaterThanOrEqual(3);
      expect((await spendOf(one))!.held).toBe(0);
    },
  );

  it("that nobody counted is charged by its lengths", async () => {
    const one = await asker();
    upstream.manner = { uncounted: true };
    await (await one.post("chat/completions", chat())).json();
    await (await one.post("chat/completions", chat({ stream: true }))).text();
    await ended(one, "answered");
    for (const call of await callsOf(one)) expect([call.input > 3, call.output >= 4]).toEqual([true, true]);
  });
});

describe("a refusal", () => {
  it("of the model's server is told where it is the caller's, and hidden where it is ours", async () => {
    const one = await asker();
    const told = async (manner: object) => {
      upstream.manner = manner;
      return errorOf(await one.post("chat/completions", chat()));
    };
    expect(await told({ status: 400, message: "too long" })).toEqual([
      400,
      { message: "too long", type: "invalid_request_error", code: "of_the_server", param: null },
    ]);
    for (const status of [401, 403, 500, 302]) {
      const [got, error] = await told({ status, message: `bad key ${upstream.key}` });
      expect([got, error.type]).toEqual([502, "server_error"]);
      expect(error.message).not.toContain("key");
    }
    expect((await told({ status: 400, message: `key ${upstream.key}` }))[1].message).not.toContain(
      upstream.key,
    );
    expect(await told({ status: 429 })).toMatchObject([429, { code: "rate_limit_exceeded" }]);
    expect(await callsOf(one)).toHaveLength(7);
    expect(await spendOf(one)).toEqual({ spent: 0, held: 0 });
  });

  it("names a model that there is not, and a body that is none, in OpenAI's form", async () => {
    const one = await asker();
    expect(await errorOf(await one.post("chat/completions", chat({ model: "other" })))).toMatchObject([
      404,
      { code: "model_not_found", param: "model", type: "invalid_request_error" },
    ]);
    for (const [body, param] of [
      ["{", null],
      [{}, "messages"],
      [chat({ stream: "yes" }), "stream"],
      [chat({ max_tokens: -1 }), "max_tokens"],
      [{ messages: [] }, "messages"],
    ] as const)
      expect(await errorOf(await one.post("chat/completions", body))).toMatchObject([
        400,
        { type: "invalid_request_error", param },
      ]);
    const large = await one.post("chat/completions", chat({ messages: ["x".repeat(17 * 1024 * 1024)] }));
    expect(await errorOf(large)).toMatchObject([413, { type: "invalid_request_error" }]);
    const there = await one.post("nothing", {});
    expect(await errorOf(there)).toMatchObject([404, { type: "invalid_request_error" }]);
    expect(await callsOf(one)).toEqual([]);
  });

  it("comes when an instance has spent what it may, and many at once do not get past it", async () => {
    const one = await asker();
    // Each may come to a fifth of the limit, and costs next to nothing.
    const ask = () => one.post("chat/completions", chat({ max_tokens: 100_000, stream: true }));
    upstream.manner = { stopsAfter: 1, stop: "silence" };
    const replies = await Promise.all(Array.from({ length: 12 }, ask));
    const refused = replies.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThanOrEqual(7);
    expect(await errorOf(refused[0]!)).toMatchObject([
      429,
      { type: "insufficient_quota", code: "insufficient_quota" },
    ]);
    await Promise.all(
      replies.filter(({ status }) => status === 200).map((reply) => reply.text().catch(() => {})),
    );
    await expect.poll(async () => (await spendOf(one))!.held, { timeout: 15_000 }).toBe(0);
    await sql`update inference_spend set spent_micros = ${LIMIT} where instance_id = ${one.id}`.execute(db());
    upstream.manner = {};
    expect((await one.post("chat/completions", chat())).status).toBe(429);
    const other = await asker();
    expect((await other.post("chat/completions", chat())).status).toBe(200);
  });
});

it("an instance is refused with a model that nobody has", async () => {
  const one = await asker();
  const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID3LSWG/ZfeyZSVgsrIbllxjufn23yqbkvefP6JEcfmh";
  const create = (more: object) =>
    one.owner("POST", "/v1/instances", { public_key: key, agent: "none", ...more });
  const { status, body } = await create({ inference_model: "other" });
  expect([status, body.error.code, body.error.param]).toEqual([400, "invalid_request", "inference_model"]);
  // That there is no host is looked at after it.
  for (const more of [{}, { inference_model: "large" }]) expect((await create(more)).status).toBe(503);
});

describe("a token", () => {
  it.each(INFERENCE.map((operation) => [operation.id, operation] as const))(
    "is asked for by %s: nobody's, a wrong one, a tenant's and the operator's key open nothing",
    async (_id, { method, path, example }) => {
      const one = await asker();
      const body = example?.body === undefined ? null : JSON.stringify(example.body);
      const workloads = (await admin("POST", "/platform/v1/tenants", { name: `stranger ${++tenants}` })).body;
      const keys = [
        workloads.api_key,
        workloads.api_keys.workloads,
        casemate.adminKey,
        `${one.token}x`,
        "",
        null,
      ];
      for (const key of keys) {
        const reply = await fetch(`${casemate.url}${path}`, {
          ...{ method, body },
          headers: {
            "content-type": "application/json",
            ...(key !== null && { authorization: `Bearer ${key}` }),
          },
        });
        expect(await errorOf(reply)).toMatchObject([401, { code: "invalid_api_key" }]);
      }
      expect((await callerOf(casemate.url, one.token)("GET", "/v1/instances")).status).toBe(403);
      const wrong = await fetch(`${casemate.url}${path}`, { method: "PUT" });
      expect(await errorOf(wrong)).toMatchObject([405, { type: "invalid_request_error" }]);
    },
  );

  it("opens nothing more when its instance is deleted, also where its row outlived that", async () => {
    const one = await asker();
    expect((await one.post("chat/completions", chat())).status).toBe(200);
    expect((await one.owner("DELETE", `/v1/instances/${one.name}`)).status).toBe(202);
    const { rows } = await sql<{ n: number }>`
      select count(*)::int as n from api_keys where instance_id = ${one.id}`.execute(db());
    expect(rows[0]!.n).toBe(0);
    expect((await one.post("chat/completions", chat())).status).toBe(401);
    const late = await makeInstanceToken(db(), { account: one.account, instance: one.id, incarnation: 1 });
    const reply = await callerOf(casemate.url, late)("POST", "/inference/v1/chat/completions", chat());
    expect(reply.status).toBe(401);
  });

  it("of one start ends with the next, and of one start there are few", async () => {
    const one = await asker();
    const make = (incarnation: number) =>
      makeInstanceToken(db(), { account: one.account, instance: one.id, incarnation });
    for (let n = 0; n < 6; n++) await make(1);
    const count = async () =>
      (
        await sql<{
          n: number;
        }>`select count(*)::int as n from api_keys where instance_id = ${one.id}`.execute(db())
      ).rows[0]!.n;
    expect(await count()).toBe(4);
    const next = await make(2);
    expect(await count()).toBe(1);
    expect((await one.post("chat/completions", chat())).status).toBe(401);
    expect((await callerOf(casemate.url, next)("GET", "/inference/v1/models")).body.data).toHaveLength(2);
    const { rows } = await sql<{
      text: string;
    }>`select k::text as text from api_keys k where instance_id = ${one.id}`.execute(db());
    expect(rows[0]!.text).not.toContain(next.slice(-8));
  });
});

it("a call whose process died holds nothing for ever, and is not taken for one that goes on", async () => {
  const one = await asker();
  const id = await beginCall(db(), {
    ...{ account: one.account, instance: one.id, operation: "chat", model: "small", upstream: "own" },
    ...{ heldMicros: 900, limitMicros: null },
  });
  await reapCalls(casemate.control.db, 60_000);
  expect(await spendOf(one)).toEqual({ spent: 0, held: 900 });
  await sql`update inference_calls set started_at = now() - interval '2 minutes' where id = ${id}`.execute(
    db(),
  );
  await reapCalls(casemate.control.db, 60_000);
  expect(await spendOf(one)).toEqual({ spent: 0, held: 0 });
  expect((await callsOf(one))[0]).toMatchObject({ outcome: "failed", cost: 0 });
});

it("an instance finds in its claim, sealed, the way to models, and loses it with its end", async () => {
  const images = mkdtempSync(join(tmpdir(), "casemate-gateway-images-"));
  const driver = new AttestedDriver();
  const image = await writeSpecimenImage(images, "0.1.0", "base", "base");
  driver.images.set(image.sha256, image.metadata);
  await using whole = await startInstallation({
    kept: driver,
    ssh: { addresses: "127.73.0.0/16", port: await freePort(), redirect: false },
    config: { imagesFolder: images, instances: { requestsPerMinute: null, ...withUpstream() } },
  });
  const tenant = (await callerOf(whole.url, whole.adminKey)("POST", "/platform/v1/tenants", { name: "acme" }))
    .body;
  const acme = callerOf(whole.url, tenant.api_key);
  const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID3LSWG/ZfeyZSVgsrIbllxjufn23yqbkvefP6JEcfmh";
  const made = await acme("POST", "/v1/instances", {
    public_key: key,
    agent: "none",
    inference_model: "large",
  });
  expect(made.status).toBe(202);
  const path = `/v1/instances/${made.body.data.name}`;
  await expect
    .poll(async () => (await acme("GET", path)).body.data.status, { timeout: 20_000 })
    .toBe("ready");
  const [claim] = driver.claims.values();
  const { baseUrl, token, model } = claim!.inference!;
  expect([baseUrl, model]).toEqual([`${whole.url}/inference/v1`, "large"]);
  const ask = () =>
    fetch(`${baseUrl}/chat/completions`, {
      ...{ method: "POST", body: JSON.stringify(chat()) },
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    });
  expect((await ask()).status).toBe(200);
  expect(upstream.asked.at(-1)!.body.model).toBe("large");
  const { usage } = (await acme("GET", "/v1/usage")).body.data;
  // 51 micro-units are no cent.
  expect(usage.inference_cost_usd).toBe("0.00");
  expect((await acme("GET", `${path}/usage`)).body.data.usage.inference_output_tokens).toBe(4);
  expect((await acme("DELETE", path)).status).toBe(202);
  expect((await ask()).status).toBe(401);
  await expect
    .poll(async () => (await acme("GET", path)).body.data.status, { timeout: 20_000 })
    .toBe("terminated");
  rmSync(images, { recursive: true, force: true });
});

it("no word that was said to a model or by it is in any table", async () => {
  const { rows: tables } = await sql<{ name: string }>`
    select tablename as name from pg_tables where schemaname = 'public'`.execute(db());
  for (const { name } of tables)
    for (const word of [SECRET, "wörld"]) {
      const { rows } = await sql<{ n: number }>`
        select count(*)::int as n from ${sql.id(name)} t where position(${word} in t::text) > 0`.execute(
        db(),
      );
      expect([name, rows[0]!.n]).toEqual([name, 0]);
    }
});
