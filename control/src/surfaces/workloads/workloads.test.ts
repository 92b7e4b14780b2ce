// SPDX-License-Identifier: Apache-2.0
/** The road of a workload over HTTP, with a fake engine below the real host, link and ingress. */

import { randomUUID } from "node:crypto";
import { Resolver } from "node:dns/promises";
import { request } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Notice } from "#contract/link/machine.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { freePort } from "#testing/free-port.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { keepNotices } from "./notices.ts";

let casemate: Installation;
let admin: Caller;
const driver = new FakeKeptDriver();
let namesPort: number;
beforeAll(async () => {
  namesPort = await freePort();
  const names = {
    host: "127.0.0.1",
    port: namesPort,
    nameServers: [{ name: "ns.example.org", addresses: [] }],
  };
  casemate = await startInstallation({ kept: driver, config: { names } });
  admin = callerOf(casemate.url, casemate.adminKey);
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});

const COMPOSE =
  'services:\n  api:\n    image: caddy:2\n    command: |\n      caddy respond --listen :80 --body \'{"hi":"foo"}\'';
const ASK = {
  ...{ name: "hello", artifactsVersion: "0.1.0", dockerCompose: COMPOSE },
  ...{ publicContainerName: "api", publicContainerPort: 80, memory: 512, cpus: 1, disk: 5, gpus: 0 },
};

async function account(credits = 1000): Promise<Caller & { id: string }> {
  const made = await admin("POST", "/api/v1/accounts/create", { name: "acme", credits });
  expect(made.status).toBe(201);
  return Object.assign(callerOf(casemate.url, made.body.apiToken), { id: made.body.accountId });
}

// biome-ignore lint/suspicious/noExplicitAny: tests read what the wire holds, and say what they expect of it.
async function until(me: Caller, id: string, status: string): Promise<any> {
  for (let tries = 0; tries < 200; tries++) {
    const { body } = await me("GET", `/api/v1/workloads/${id}`);
    if (body.status === status) return body;
    await sleep(25);
  }
  throw new Error(`the workload did not become ${status}`);
}

const kinds = async (me: Caller, workloadId: string) =>
  (await me("POST", "/api/v1/workload-events/list", { workloadId })).body.events.map(
    (event: { details: { kind: string } }) => event.details.kind,
  );

/** As a client that trusts the CA it downloaded, and has the name resolved. */
async function visit(url: string, path = "/"): Promise<{ status: number; body: string }> {
  const ca = await (await fetch(`${casemate.url}/ca.pem`)).text();
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const headers = { host: `${hostname}:${port}` };
    request(
      { host: "127.0.0.1", port, path, ca, servername: hostname, headers, agent: false },
      (response) => {
        const parts: Buffer[] = [];
        response.on("data", (bytes) => parts.push(bytes));
        response.on("end", () =>
          resolve({ status: response.statusCode!, body: Buffer.concat(parts).toString() }),
        );
      },
    )
      .on("error", reject)
      .end();
  });
}

describe("a workload", () => {
  it("is created, answers over HTTPS, is restarted with other variables, stopped, started and deleted", async () => {
    const me = await account();
    const made = await me("POST", "/api/v1/workloads/create", { ...ASK, envVars: { FOO: "42" } });
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ name: "hello", isolation: "container" });
    expect(["scheduled", "starting"]).toContain(made.body.status);
    expect(made.body.envVars).toEqual({ FOO: "***" });
    const id = made.body.workloadId;
    const { url } = await until(me, id, "running");
    expect(JSON.parse((await visit(url, "/x?y=1")).body)).toMatchObject({
      ...{ hi: "foo", path: "/x?y=1", env: { FOO: "42" } },
    });
    expect(await kinds(me, id)).toEqual(["created", "starting", "imageResolved", "running"]);

    expect(
      (await me("POST", "/api/v1/workloads/restart", { workloadId: id, envVars: { FOO: "43" } })).body,
    ).toEqual({});
    await expect.poll(async () => (await visit(url)).body).toContain('"FOO":"43"');
    await until(me, id, "running");

    await me("POST", "/api/v1/workloads/stop", { workloadId: id });
    await until(me, id, "stopped");
    expect((await visit(url)).status).toBe(503);
    await me("POST", "/api/v1/workloads/start", { workloadId: id });
    await until(me, id, "running");
    expect((await visit(url)).status).toBe(200);

    await me("POST", "/api/v1/workloads/delete", { workloadId: id });
    expect((await me("GET", `/api/v1/workloads/${id}`)).status).toBe(404);
    await expect.poll(() => driver.disks.size).toBe(0);
    await expect.poll(() => visit(url).catch(() => "no certificate for it")).toBe("no certificate for it");
  });

  it("whose start fails says why, costs nothing, and can be started again", async () => {
    const me = await account();
    const { body } = await me("POST", "/api/v1/workloads/create", {
      ...ASK,
      dockerCompose: "services:\n  api:\n    image: broken:1",
    });
    await until(me, body.workloadId, "error");
    const events = await me("POST", "/api/v1/workload-events/list", { workloadId: body.workloadId });
    expect(events.body.events.at(-1).details).toEqual({
      kind: "failedToStart",
      error: "service broken exited with 1",
    });
    expect((await me("GET", "/api/v1/accounts/me")).body).toMatchObject({ credits: 1000, creditRate: 0 });
    expect((await me("POST", "/api/v1/workloads/start", { workloadId: body.workloadId })).status).toBe(200);
    await expect
      .poll(
        async () =>
          (await kinds(me, body.workloadId)).filter((kind: string) => kind === "failedToStart").length,
      )
      .toBe(2);
    await me("POST", "/api/v1/workloads/delete", { workloadId: body.workloadId });
  });

  it("is updated in place: another file under the same name, and a refused one changes nothing", async () => {
    const me = await account();
    const { body } = await me("POST", "/api/v1/workloads/create", ASK);
    const { url } = await until(me, body.workloadId, "running");
    const update = (change: object) =>
      me("PUT", "/api/v1/workloads/update", { workloadId: body.workloadId, ...change });
    const refused = await update({ dockerCompose: "services:\n  api:\n    image: x\n    privileged: true" });
    expect([refused.status, refused.body.kind]).toEqual([400, "DOCKER_COMPOSE"]);
    const { starts } = JSON.parse((await visit(url)).body);
    expect((await update({ envVars: { A: "1" }, files: { "a.txt": "aGk=" } })).body).toMatchObject({
      ...{ workloadId: body.workloadId, envVars: { A: "***" }, files: { "a.txt": "***" } },
    });
    await expect.poll(async () => (await visit(url)).body).toContain('"env":{"A":"1"}');
    expect(JSON.parse((await visit(url)).body).starts).toBe(starts + 1);
    await me("POST", "/api/v1/workloads/delete", { workloadId: body.workloadId });
  });

  it("keeps what each of two updates at the same time changed", async () => {
    const me = await account();
    const { body } = await me("POST", "/api/v1/workloads/create", ASK);
    const { url } = await until(me, body.workloadId, "running");
    const update = (change: object) =>
      me("PUT", "/api/v1/workloads/update", { workloadId: body.workloadId, ...change });
    for (let round = 1; round <= 5; round++) {
      const replies = await Promise.all([
        update({ envVars: { ROUND: String(round) } }),
        update({ files: { [`${round}.txt`]: "aGk=" } }),
        me("POST", "/api/v1/workloads/restart", {
          workloadId: body.workloadId,
          envVars: { ROUND: String(round) },
        }),
      ]);
      expect(replies.map(({ status }) => status)).toEqual([200, 200, 200]);
      const { files } = (await me("GET", `/api/v1/workloads/${body.workloadId}`)).body;
      expect(files).toEqual({ [`${round}.txt`]: "***" });
      await expect
        .poll(async () => (await visit(url)).body, { timeout: 5_000 })
        .toContain(`"env":{"ROUND":"${round}"}`);
    }
    await me("POST", "/api/v1/workloads/delete", { workloadId: body.workloadId });
  });

  it("that ends by itself is no longer running, and is charged to the moment", async () => {
    const me = await account();
    const { body } = await me("POST", "/api/v1/workloads/create", ASK);
    await until(me, body.workloadId, "running");
    const before = [...driver.running.keys()];
    expect((await me("GET", "/api/v1/accounts/me")).body).toMatchObject({ creditRate: body.creditRate });
    await driver.die(before.at(-1)!, "service api exited with 137");
    await until(me, body.workloadId, "error");
    const after = (await me("GET", "/api/v1/accounts/me")).body;
    expect(after).toMatchObject({ creditRate: 0 });
    expect(after.credits).toBeLessThanOrEqual(1000);
    await me("POST", "/api/v1/workloads/delete", { workloadId: body.workloadId });
  });

  it("tells what became of it: a service that died, its public one down and back, its engine gone, its images", async () => {
    const me = await account();
    const { body } = await me("POST", "/api/v1/workloads/create", ASK);
    const { workloadId } = body;
    await until(me, workloadId, "running");
    const { machine_id: machineId } = (
      await sql<{ machine_id: string }>`select machine_id from workloads where id = ${workloadId}`.execute(
        casemate.control.db.run,
      )
    ).rows[0]!;
    const details = async () =>
      (await me("POST", "/api/v1/workload-events/list", { workloadId })).body.events.map(
        (event: { details: object }) => event.details,
      );
    driver.lose(machineId, "db exited with code 7");
    await expect.poll(() => details()).toContainEqual({ kind: "warning", message: "db exited with code 7" });
    expect((await me("GET", `/api/v1/workloads/${workloadId}`)).body.status).toBe("running");

    await driver.fall(machineId, "api exited with code 1 and is started again");
    await until(me, workloadId, "starting");
    expect((await visit(body.url)).status).toBe(503);
    // Its other services run on, so it costs what it costs.
    expect((await me("GET", "/api/v1/accounts/me")).body.creditRate).toBe(body.creditRate);
    await driver.rise(machineId);
    await until(me, workloadId, "running");
    expect((await visit(body.url)).status).toBe(200);

    await driver.crash();
    driver.back([machineId]);
    await until(me, workloadId, "starting");
    await until(me, workloadId, "running");
    expect(await details()).toEqual([
      { kind: "created" },
      { kind: "starting" },
      { kind: "imageResolved", message: `service api: caddy:2 is caddy@sha256:${"0".repeat(64)}` },
      { kind: "running" },
      { kind: "warning", message: "db exited with code 7" },
      { kind: "vmRestarted", message: "api exited with code 1 and is started again" },
      { kind: "running" },
      { kind: "vmRestarted", message: "ended with the engine" },
      { kind: "running" },
    ]);
    await me("POST", "/api/v1/workloads/delete", { workloadId });
  });

  it("is spoken of by its own host only, once for each notice, and not without end", async () => {
    const me = await account();
    const { body } = await me("POST", "/api/v1/workloads/create", ASK);
    const { workloadId } = body;
    await until(me, workloadId, "running");
    const { db } = casemate.control;
    const { rows } = await sql<{ id: string; host_id: string }>`
      select m.id, m.host_id from machines m join workloads w on w.machine_id = m.id where w.id = ${workloadId}`.execute(
      db.run,
    );
    const { id: machineId, host_id: hostId } = rows[0]!;
    const tell = (host: string, notices: Notice[]) =>
      keepNotices(db, host, { machineId, generation: 1, state: "running", notices });
    const warning = (): Notice => ({ id: randomUUID(), kind: "warning", message: "a story" });
    const before = (await kinds(me, workloadId)).length;
    await tell("host_00000000000000000000000000000000", [warning()]);
    expect((await kinds(me, workloadId)).length).toBe(before);
    const once = warning();
    await tell(hostId, [once]);
    await tell(hostId, [once]);
    expect((await kinds(me, workloadId)).length).toBe(before + 1);
    for (let times = 0; times < 20; times++) await tell(hostId, Array.from({ length: 32 }, warning));
    expect((await kinds(me, workloadId)).length).toBeLessThanOrEqual(303);
    await me("POST", "/api/v1/workloads/delete", { workloadId });
  });

  it("survives a restart of its host, which finds it and answers at the same name", async () => {
    const me = await account();
    const { body } = await me("POST", "/api/v1/workloads/create", ASK);
    await until(me, body.workloadId, "running");
    const starts = [...driver.running.values()].map(({ starts }) => starts);
    await casemate.restartHost();
    await expect
      .poll(
        async () => (await visit((await me("GET", `/api/v1/workloads/${body.workloadId}`)).body.url)).status,
      )
      .toBe(200);
    expect([...driver.running.values()].map(({ starts }) => starts)).toEqual(starts);
    await me("POST", "/api/v1/workloads/delete", { workloadId: body.workloadId });
  });
});

describe("what a stranger and a broken request get", () => {
  it("is 401 without a key, with another surface's key and with a wrong one, in this surface's form", async () => {
    const other = await casemate.account();
    for (const key of [null, "cm_wl_00000000000000000000000000000000", other.key]) {
      const reply = await callerOf(casemate.url, key)("GET", "/api/v1/workloads/list");
      expect(reply.status).toBe(401);
      expect(reply.body).toMatchObject({ kind: "UNAUTHORIZED", requestId: expect.stringMatching(/^req_/) });
    }
  });

  it("takes the key in x-api-key as well", async () => {
    const me = await account();
    const reply = await casemate.anyone("GET", "/api/v1/workloads/list", undefined, { "x-api-key": me.key! });
    expect(reply.body).toEqual([]);
  });

  it("is 404 for another account's workload, as for one that never was", async () => {
    const [me, stranger] = [await account(), await account()];
    const { body } = await me("POST", "/api/v1/workloads/create", ASK);
    const theirs = await stranger("GET", `/api/v1/workloads/${body.workloadId}`);
    expect([theirs.status, theirs.body.kind]).toEqual([404, "NOT_FOUND"]);
    for (const verb of ["start", "stop", "restart", "delete", "logs", "stats"]) {
      const reply = await stranger("POST", `/api/v1/workloads/${verb}`, { workloadId: body.workloadId });
      expect([verb, reply.status]).toEqual([verb, 404]);
    }
    await me("POST", "/api/v1/workloads/delete", { workloadId: body.workloadId });
  });

  it("names everything that is wrong with a compose file at once", async () => {
    const me = await account();
    const reply = await me("POST", "/api/v1/workloads/create", {
      ...ASK,
      dockerCompose: "services:\n  api:\n    image: caddy:2\n    privileged: true\n    network_mode: host",
    });
    expect([reply.status, reply.body.kind]).toEqual([400, "DOCKER_COMPOSE"]);
    expect(reply.body.issues.map(({ path, line }: { path: string; line: number }) => [path, line])).toEqual([
      ["services.api.privileged", 4],
      ["services.api.network_mode", 5],
    ]);
  });

  it.each([
    ["no tier of that size", { cpus: 3 }, 400, "INVALID_WORKLOAD_TIER"],
    ["no such artifact", { artifactsVersion: "9.9.9" }, 400, "ARTIFACT_VERSION_DOES_NOT_EXIST"],
    ["no version", { artifactsVersion: "latest" }, 400, "ARTIFACT_VERSION_NOT_SEMVER"],
    ["a reserved variable", { envVars: { CADDY_X: "1" } }, 400, "RESERVED_ENVIRONMENT_VARIABLE"],
    ["a file outside", { files: { "../x": "AAAA" } }, 400, "INVALID_PAYLOAD"],
    ["too little memory", { memory: 1 }, 400, "INVALID_PAYLOAD"],
  ])("refuses %s", async (_what, change, status, kind) => {
    const me = await account();
    const reply = await me("POST", "/api/v1/workloads/create", { ...ASK, ...change });
    expect([reply.status, reply.body.kind]).toEqual([status, kind]);
    expect((await me("GET", "/api/v1/workloads/list")).body).toEqual([]);
  });

  it("is 412 without the money for five minutes, and of many creates at once no more come up than it covers", async () => {
    const poor = await account(0);
    const refused = await poor("POST", "/api/v1/workloads/create", ASK);
    expect([refused.status, refused.body.kind]).toEqual([412, "NOT_ENOUGH_CREDITS"]);
    // Five minutes of three: 3 × 5 × 0.02 credits.
    const me = await account(0.3);
    const replies = await Promise.all(
      Array.from({ length: 10 }, () => me("POST", "/api/v1/workloads/create", ASK)),
    );
    expect(replies.filter(({ status }) => status === 201)).toHaveLength(3);
    for (const { body, status } of replies)
      if (status === 201) await me("POST", "/api/v1/workloads/delete", { workloadId: body.workloadId });
  });

  it("is 503 when no host has room, and the room of what is deleted can be had again", async () => {
    const me = await account(1e6);
    const reserved = async () => (await admin("GET", "/api/v1/metal-instances/list")).body[0].cpus.reserved;
    await expect.poll(reserved).toBe(0);
    const big = { cpus: 8, memory: 16384, disk: 80 };
    const replies = await Promise.all(
      Array.from({ length: 4 }, () => me("POST", "/api/v1/workloads/create", { ...ASK, ...big })),
    );
    const made = replies.filter(({ status }) => status === 201);
    expect(made).toHaveLength(2);
    expect(replies.find(({ status }) => status === 503)?.body.kind).toBe("NOT_ENOUGH_RESOURCES");
    for (const { body } of made)
      await me("POST", "/api/v1/workloads/delete", { workloadId: body.workloadId });
    await expect
      .poll(async () => (await me("POST", "/api/v1/workloads/create", { ...ASK, ...big })).status)
      .toBe(201);
    for (const { workloadId } of (await me("GET", "/api/v1/workloads/list")).body)
      await me("POST", "/api/v1/workloads/delete", { workloadId });
  });
});

describe("its name", () => {
  it("is answered by our name server with its host's address, and is no name any more when it is deleted", async () => {
    const me = await account();
    // What was deleted before this may still hold the host's room for a moment.
    const { body } = await vi.waitFor(
      async () => {
        const made = await me("POST", "/api/v1/workloads/create", ASK);
        expect(made.status).toBe(201);
        return made;
      },
      { timeout: 20_000, interval: 100 },
    );
    const resolver = new Resolver();
    resolver.setServers([`127.0.0.1:${namesPort}`]);
    expect(await resolver.resolve4(body.domain)).toEqual(["127.0.0.1"]);
    expect(await resolver.resolve4(body.metalInstanceDomain)).toEqual(["127.0.0.1"]);
    expect((await resolver.resolveSoa("workloads.localhost")).nsname).toBe("ns.example.org");
    await me("POST", "/api/v1/workloads/delete", { workloadId: body.workloadId });
    await expect
      .poll(() => resolver.resolve4(body.domain).catch((error) => error.code), { timeout: 10_000 })
      .toBe("ENOTFOUND");
  });
});

it("a host without an engine is told of, with what is missing and how to get it", async () => {
  const lacking = Object.assign(new FakeKeptDriver(), {
    probe: async () => ({ ready: false, missing: "no engine: apt-get install -y an-engine" }),
  });
  await using bare = await startInstallation({ kept: lacking });
  const operator = callerOf(bare.url, bare.adminKey);
  const made = await operator("POST", "/api/v1/accounts/create", { name: "a", credits: 100 });
  const reply = await callerOf(bare.url, made.body.apiToken)("POST", "/api/v1/workloads/create", ASK);
  expect([reply.status, reply.body.kind]).toEqual([503, "NOT_ENOUGH_RESOURCES"]);
  expect(reply.body.error).toContain("apt-get install -y an-engine");
});

describe("looking at it", () => {
  it("dry run says what would be refused and what it would cost, and creates nothing", async () => {
    const me = await account();
    const good = await me("POST", "/api/v1/workloads/create?dryRun=1", ASK);
    expect(good.body).toMatchObject({ valid: true, issues: [], usdCostPerMin: 0.0002, creditRate: 0.02 });
    const bad = await me("POST", "/api/v1/workloads/create?dryRun=1", {
      ...ASK,
      dockerCompose: "services: {}",
    });
    expect(bad.body.valid).toBe(false);
    expect((await me("GET", "/api/v1/workloads/list")).body).toEqual([]);
  });

  it("shows logs, figures and containers, and follows a log until the client goes", async () => {
    const me = await account();
    const { body } = await me("POST", "/api/v1/workloads/create", ASK);
    const { workloadId } = body;
    await until(me, workloadId, "running");
    expect((await me("POST", "/api/v1/workloads/logs", { workloadId })).body.lines).toContain("last");
    const log = { workloadId, container: "api", tail: false, stream: "stdout", maxLines: 2 };
    expect((await me("POST", "/api/v1/workload-containers/logs", log)).body.lines).toHaveLength(2);
    expect((await me("POST", "/api/v1/workload-containers/list", { workloadId })).body).toEqual([
      { names: ["api"], image: "caddy:2", imageId: "sha256:0", state: "running" },
    ]);
    for (const [path, change, status, kind] of [
      ["/api/v1/workload-containers/logs", { container: "nobody" }, 404, "NOT_FOUND"],
      ["/api/v1/workload-containers/logs", { container: "api", since: "yesterday" }, 400, "INVALID_PAYLOAD"],
      ["/api/v1/workloads/logs", { since: "2026-13-45T00:00:00Z" }, 400, "INVALID_PAYLOAD"],
    ] as const) {
      const reply = await me("POST", path, { workloadId, ...change });
      expect([path, reply.status, reply.body.kind]).toEqual([path, status, kind]);
    }
    expect((await me("POST", "/api/v1/workloads/stats", { workloadId })).body.memory.total).toBe(
      512 * 2 ** 20,
    );
    const controller = new AbortController();
    const followed = await fetch(`${casemate.url}/api/v1/workloads/logs?follow=1`, {
      method: "POST",
      headers: { "x-api-key": me.key!, "content-type": "application/json" },
      body: JSON.stringify({ workloadId }),
      signal: controller.signal,
    });
    const reader = followed.body!.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toContain("event: line");
    controller.abort();
    await me("POST", "/api/v1/workloads/delete", { workloadId });
  });

  it("pages oldest first, each exactly once", async () => {
    const me = await account();
    for (let n = 0; n < 3; n++) await me("POST", "/api/v1/workloads/create", { ...ASK, name: `w${n}` });
    const first = await me("GET", "/api/v1/workloads/list?limit=2");
    const next = /<([^>]+)>; rel="next"/.exec(first.headers.get("link")!)![1]!;
    const second = await me("GET", next);
    expect([...first.body, ...second.body].map(({ name }: { name: string }) => name)).toEqual([
      "w0",
      "w1",
      "w2",
    ]);
    for (const { workloadId } of [...first.body, ...second.body])
      await me("POST", "/api/v1/workloads/delete", { workloadId });
  });
});

describe("what was found by attack", () => {
  it("a key that may only read neither renames, lengthens nor revokes keys, nor renames the account", async () => {
    const me = await account();
    const made = await me("POST", "/api/v1/api-keys/create", { name: "r", scopes: ["workloads:read"] });
    const reader = callerOf(casemate.url, made.body.apiKey);
    const [full] = (await me("GET", `/api/v1/api-keys/account/${me.id}`)).body;
    for (const [method, path, body] of [
      ["PUT", "api-keys/update", { apiKeyId: full.apiKeyId, expiresAt: null }],
      ["POST", "api-keys/delete", { apiKeyId: full.apiKeyId }],
      ["PUT", "accounts/update", { accountId: me.id, name: "mine" }],
    ] as const)
      expect([path, (await reader(method, `/api/v1/${path}`, body)).status]).toEqual([path, 401]);
    expect((await me("GET", "/api/v1/workloads/list")).status).toBe(200);
  });

  it("NUL bytes, dates that are none and sizes beyond all bounds are the caller's fault, not ours", async () => {
    const me = await account();
    const cursor = (text: string) => Buffer.from(text).toString("base64url");
    const replies = [
      await me("GET", "/api/v1/workloads/list?status=%00"),
      await me(
        "GET",
        `/api/v1/workloads/list?cursor=${cursor(`2024-01-01T00:00:00.000Z|${"-".repeat(36)}`)}`,
      ),
      await me(
        "GET",
        `/api/v1/workloads/list?cursor=${cursor("2024-02-31T00:00:00.000Z|00000000-0000-4000-8000-000000000000")}`,
      ),
      await me("POST", "/api/v1/workloads/create", { ...ASK, name: "a\u0000b" }),
      await me("POST", "/api/v1/workloads/create", { ...ASK, memory: 1e15 }),
      await me("POST", "/api/v1/api-keys/create", { name: "a\u0000" }),
      await admin("POST", "/api/v1/accounts/create", { name: "a\u0000" }),
    ];
    expect(replies.map(({ status }) => status)).toEqual(replies.map(() => 400));
  });

  it("an operator's credit that is repeated with its key counts once, and a dry run is not the real call", async () => {
    const me = await account(0);
    const again = { "idempotency-key": `credit-${me.id}` };
    for (let n = 0; n < 2; n++) {
      const reply = await admin(
        "POST",
        "/api/v1/accounts/add-credits",
        { accountId: me.id, credits: 5 },
        again,
      );
      expect(reply.status).toBe(200);
    }
    expect((await me("GET", "/api/v1/accounts/me")).body.credits).toBe(5);
    const same = { "idempotency-key": "one" };
    expect((await me("POST", "/api/v1/workloads/create?dryRun=1", ASK, same)).status).toBe(200);
    expect((await me("POST", "/api/v1/workloads/create", ASK, same)).status).toBe(409);
    expect((await me("POST", "/api/v1/workloads/create", ASK)).status).toBe(201);
    for (const { workloadId } of (await me("GET", "/api/v1/workloads/list")).body)
      await me("POST", "/api/v1/workloads/delete", { workloadId });
  });

  it("a machine that is kept in starting is charged while it may run something, and not after its delete", async () => {
    const me = await account();
    const slow = { dockerCompose: "services:\n  api:\n    image: slow:1" };
    const { body } = await me("POST", "/api/v1/workloads/create", { ...ASK, ...slow });
    const rate = async () => (await me("GET", "/api/v1/accounts/me")).body.creditRate;
    await expect.poll(rate).toBe(body.creditRate);
    expect((await me("GET", `/api/v1/workloads/${body.workloadId}`)).body.status).toBe("starting");
    await me("POST", "/api/v1/workloads/delete", { workloadId: body.workloadId });
    expect(await rate()).toBe(0);
  });

  it("what grows past what a host takes when its variables are filled in is refused at once", async () => {
    const me = await account();
    const lines = Array.from({ length: 60 }, (_, n) => `      V${n}: "\${BIG}"`).join("\n");
    const dockerCompose = `services:\n  api:\n    image: caddy:2\n    environment:\n${lines}`;
    const envVars = { BIG: "x".repeat(131_000) };
    const reply = await me("POST", "/api/v1/workloads/create", { ...ASK, dockerCompose, envVars });
    expect([reply.status, reply.body.kind]).toEqual([400, "DOCKER_COMPOSE"]);
  });
});

describe("accounts and keys", () => {
  it("a key that may only read changes nothing, and a revoked one does nothing", async () => {
    const me = await account();
    const made = await me("POST", "/api/v1/api-keys/create", { name: "ci", scopes: ["workloads:read"] });
    expect(made.status).toBe(201);
    const reader = callerOf(casemate.url, made.body.apiKey);
    expect((await reader("GET", "/api/v1/workloads/list")).status).toBe(200);
    expect((await reader("POST", "/api/v1/workloads/create", ASK)).status).toBe(401);
    expect((await reader("POST", "/api/v1/api-keys/create", { name: "wider" })).status).toBe(401);
    await me("POST", "/api/v1/api-keys/delete", { apiKeyId: made.body.apiKeyId });
    expect((await reader("GET", "/api/v1/workloads/list")).status).toBe(401);
  });

  it("shows the same money in credits and dollars, and who paid what", async () => {
    const me = await account(12.5);
    await admin("POST", "/api/v1/accounts/add-balance", { accountId: me.id, balance: 0.000001 });
    expect((await me("GET", "/api/v1/accounts/me")).body).toMatchObject({
      credits: 12.5001,
      balance: 0.125001,
    });
    expect((await me("GET", "/api/v1/payments/list")).body).toHaveLength(2);
    expect((await me("POST", "/api/v1/accounts/add-credits", { accountId: me.id, credits: 1 })).status).toBe(
      401,
    );
  });
});
