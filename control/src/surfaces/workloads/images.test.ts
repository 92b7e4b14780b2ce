// SPDX-License-Identifier: Apache-2.0
/** Workloads from images of the built-in registry: what a tag meant, who asked, and what a host is lent to pull it. */
import { randomBytes } from "node:crypto";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { MachineSpec } from "#contract/link/machine.ts";
import type { ComposePayload } from "#contract/link/payload.ts";
import type { KeptStart } from "#drivers/kept-driver.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { pushImage, type RegistryCall, registryCaller } from "../registry/testing.ts";

/** Shows what a host was given, at the moment when an engine would begin to pull. */
class SeeingDriver extends FakeKeptDriver {
  readonly given: ComposePayload[] = [];
  onStart: (payload: ComposePayload) => Promise<void> = async () => {};

  override async start(machineId: string, spec: MachineSpec, payload: ComposePayload, hooks: KeptStart) {
    this.given.push(payload);
    await this.onStart(payload);
    return super.start(machineId, spec, payload, hooks);
  }
}

interface Owner {
  id: string;
  api: Caller;
  push: RegistryCall;
}

const driver = new SeeingDriver();
let casemate: Installation;
let host: string;
let me: Owner;
let stranger: Owner;

beforeAll(async () => {
  casemate = await startInstallation({ kept: driver });
  host = new URL(casemate.url).host;
  const admin = callerOf(casemate.url, casemate.adminKey);
  const open = async (name: string): Promise<Owner> => {
    const { body } = await admin("POST", "/api/v1/accounts/create", { name, credits: 1000 });
    return {
      id: body.accountId,
      api: callerOf(casemate.url, body.apiToken),
      push: registryCaller(casemate.url, body.apiToken),
    };
  };
  me = await open("me");
  stranger = await open("stranger");
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});

const ask = (...images: string[]) => ({
  ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "s0", publicContainerPort: 80, gpus: 0 },
  ...{ memory: 512, cpus: 1, disk: 5 },
  dockerCompose: `services:\n${images.map((image, n) => `  s${n}:\n    image: ${image}\n`).join("")}`,
});
const create = (owner: Owner, ...images: string[]) =>
  owner.api("POST", "/api/v1/workloads/create", ask(...images));

async function running(owner: Owner, workloadId: string, starts = 1): Promise<void> {
  await expect
    .poll(async () => (await kinds(owner, workloadId)).filter((kind) => kind === "running").length, {
      timeout: 10_000,
    })
    .toBe(starts);
}
type Details = Record<string, string>;
const events = async (owner: Owner, workloadId: string): Promise<Details[]> =>
  (await owner.api("POST", "/api/v1/workload-events/list", { workloadId })).body.events.map(
    (event: { details: Details }) => event.details,
  );
const kinds = async (owner: Owner, id: string) => (await events(owner, id)).map(({ kind }) => kind);
/** What control read; what the engine found is said by the host, in words. */
const resolved = async (owner: Owner, id: string) =>
  (await events(owner, id)).filter(({ kind, by }) => kind === "imageResolved" && by);
const images = (payload: ComposePayload | undefined) =>
  Object.values(JSON.parse(payload!.compose).services as Record<string, { image: string }>).map(
    ({ image }) => image,
  );

it("a tag is read when a workload is given it: the host gets the digest, the owner an event, the journal who asked", async () => {
  const name = `${me.id}/shop`;
  const image = `${host}/${name}:v1`;
  const { digest } = await pushImage(me.push, name, "v1", [randomBytes(50)]);
  const { status, body } = await create(me, image, "caddy:2");
  expect(status).toBe(201);
  await running(me, body.workloadId);
  expect(images(driver.given.at(-1))).toEqual([`${host}/${name}@${digest}`, "caddy:2"]);
  // What its owner wrote is what its owner is shown.
  expect(body.dockerCompose).toContain(image);
  const [event] = await resolved(me, body.workloadId);
  expect(event).toEqual({
    ...{ kind: "imageResolved", message: `${image} is ${digest}`, image, digest },
    by: expect.stringMatching(/^key_/),
  });
  const { rows } = await sql<{ payload: object }>`
    select payload from journal where subject = ${body.workloadId} and type = 'workload.created'`.execute(
    casemate.control.db.run,
  );
  expect(rows).toEqual([{ payload: { name: "w", images: [{ image, digest }], by: event!.by } }]);
});

it("a tag that moves changes nothing until an update reads it again", async () => {
  const name = `${me.id}/moving`;
  const image = `${host}/${name}`;
  const one = await pushImage(me.push, name, "latest", [randomBytes(50)]);
  const { body } = await create(me, image);
  const { workloadId } = body;
  await running(me, workloadId);
  const two = await pushImage(me.push, name, "latest", [randomBytes(50)]);
  expect(
    (await me.api("POST", "/api/v1/workloads/restart", { workloadId, envVars: { A: "1" } })).status,
  ).toBe(200);
  await running(me, workloadId, 2);
  expect(images(driver.given.at(-1))).toEqual([`${host}/${name}@${one.digest}`]);
  const updated = await me.api("PUT", "/api/v1/workloads/update", { workloadId, envVars: { A: "2" } });
  expect(updated.status).toBe(200);
  await running(me, workloadId, 3);
  expect(images(driver.given.at(-1))).toEqual([`${host}/${name}@${two.digest}`]);
  expect((await resolved(me, workloadId)).map(({ digest }) => digest)).toEqual([one.digest, two.digest]);
  const { rows } = await sql<{ payload: { images: object[] } }>`
    select payload from journal where subject = ${workloadId} and type = 'workload.imageResolved'`.execute(
    casemate.control.db.run,
  );
  expect(rows.map(({ payload }) => payload.images)).toEqual([[{ image, digest: two.digest }]]);
});

it.each([
  ["a tag that is not there", () => `${me.id}/shop:none`],
  ["a digest that is not there", () => `${me.id}/shop@sha256:${"0".repeat(64)}`],
  ["a repository that is not there", () => `${me.id}/nothing:v1`],
  ["a stranger's repository", () => `${stranger.id}/theirs:v1`],
  ["a name without an account", () => "shop:v1"],
])("%s is refused when it is asked for, and says no more than that", async (_what, path) => {
  await pushImage(stranger.push, `${stranger.id}/theirs`, "v1", []);
  const image = `${host}/${path()}`;
  const reply = await create(me, "caddy:2", image);
  expect([reply.status, reply.body.kind]).toEqual([400, "DOCKER_COMPOSE"]);
  expect(reply.body.issues).toEqual([
    { path: "services.s1.image", message: "There is no such image in your repositories here." },
  ]);
  const dry = await me.api("POST", "/api/v1/workloads/create?dryRun=1", ask(image));
  expect(dry.body).toMatchObject({ valid: false, issues: [{ path: "services.s0.image" }] });
});

describe("the key that a host is lent", () => {
  it("pulls that account's images while it starts, and opens nothing else, and nothing afterwards", async () => {
    const name = `${me.id}/lent`;
    const { manifest } = await pushImage(me.push, name, "v1", [randomBytes(10)]);
    await pushImage(stranger.push, `${stranger.id}/other`, "v1", []);
    const seen: unknown[] = [];
    let key = "";
    driver.onStart = async ({ registries }) => {
      const [login] = registries;
      key = login!.password;
      seen.push([login!.server, key.startsWith("cm_pull_")]);
      const host = registryCaller(casemate.url, key);
      seen.push((await host("GET", `/v2/${name}/manifests/v1`)).bytes.toString() === manifest);
      seen.push((await host("GET", `/v2/${stranger.id}/other/manifests/v1`)).code);
      seen.push((await host("POST", `/v2/${name}/blobs/uploads/`)).code);
      seen.push((await host("DELETE", `/v2/${name}/manifests/v1`)).code);
      const api = callerOf(casemate.url, key);
      for (const path of [
        "/api/v1/workloads/list",
        "/api/v1/accounts/me",
        "/platform/v1/events",
        "/v1/sessions",
      ])
        seen.push((await api("GET", path)).status);
    };
    const { body } = await create(me, `${host}/${name}:v1`);
    await running(me, body.workloadId);
    driver.onStart = async () => {};
    expect(seen).toEqual([[host, true], true, "NAME_UNKNOWN", "DENIED", "DENIED", 401, 401, 401, 401]);
    expect((await registryCaller(casemate.url, key)("GET", "/v2/")).status).toBe(401);
    const { rows } = await sql`select id from api_keys where surface = 'registry'`.execute(
      casemate.control.db.run,
    );
    expect(rows).toEqual([]);
  });

  it("ends by itself when the start never does, and is in no row as it is", async () => {
    const name = `${me.id}/hanging`;
    await pushImage(me.push, name, "v1", []);
    const go = Promise.withResolvers<void>();
    let key = "";
    driver.onStart = async ({ registries }) => {
      key = registries[0]!.password;
      await go.promise;
    };
    const { body } = await create(me, `${host}/${name}:v1`);
    await expect.poll(() => key, { timeout: 10_000 }).not.toBe("");
    const { db } = casemate.control;
    expect((await registryCaller(casemate.url, key)("GET", "/v2/")).status).toBe(200);
    const { rows } = await sql<{ row: string }>`select to_jsonb(k)::text as row from api_keys k`.execute(
      db.run,
    );
    expect(rows.some(({ row }) => row.includes(key) || row.includes(key.slice(8)))).toBe(false);
    await sql`update api_keys set expires_at = expires_at - interval '1 hour' where surface = 'registry'`.execute(
      db.run,
    );
    expect((await registryCaller(casemate.url, key)("GET", "/v2/")).status).toBe(401);
    go.resolve();
    driver.onStart = async () => {};
    await running(me, body.workloadId);
  });

  it("is not made for workloads that need none", async () => {
    const { body } = await create(me, "caddy:2");
    await running(me, body.workloadId);
    expect(driver.given.at(-1)!.registries).toEqual([]);
  });
});
