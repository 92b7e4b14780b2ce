// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { hashKey, makeId } from "../../core/identity/index.ts";
import { openZoneRecords } from "../../core/ingress/index.ts";
import { meterTurn } from "./money.ts";
import { hostUuid } from "./view.ts";

const driver = new FakeKeptDriver();
let casemate: Installation;
let admin: Caller;
beforeAll(async () => {
  casemate = await startInstallation({ kept: driver });
  admin = callerOf(casemate.url, casemate.adminKey);
});
afterAll(async () => {
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});

const newToken = () => randomBytes(24).toString("hex");
const about = (metalInstanceId: string, token: string) => ({
  ...{ metalInstanceId, token, agentVersion: "0.3.0", publicIp: "192.0.2.7", hostname: "rack-7", gpus: 0 },
  ...{ memoryMb: { reserved: 1024, total: 9216 }, cpus: { reserved: 1, total: 9 } },
  diskSpaceGb: { reserved: 0, total: 100 },
});
const register = (caller: Caller, body: object) => caller("POST", "/api/v1/metal-instances/register", body);
const create = async (owner: Caller) => {
  const made = await owner("POST", "/api/v1/workloads/create", {
    ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80 },
    ...{ memory: 512, cpus: 1, disk: 5, gpus: 0, dockerCompose: "services:\n  api:\n    image: caddy:2" },
  });
  expect(made.status).toBe(201);
  await expect
    .poll(async () => (await owner("GET", `/api/v1/workloads/${made.body.workloadId}`)).body.status)
    .toBe("running");
  return made.body.workloadId as string;
};
const account = async (credits = 1000) =>
  callerOf(
    casemate.url,
    (await admin("POST", "/api/v1/accounts/create", { name: "m", credits })).body.apiToken,
  );

describe("a host over HTTP", () => {
  it("is registered by the operator, speaks with its token, and its changes take effect", async () => {
    const [id, token] = [randomUUID(), newToken()];
    const made = await register(admin, about(id, token));
    expect(made.status).toBe(200);
    expect(made.body).toMatchObject({
      ...{ metalInstanceId: id, hostname: "rack-7", publicIp: "192.0.2.7", agentVersion: "0.3.0" },
      ...{ memoryMb: { reserved: 0, total: 8192 }, cpus: { reserved: 0, total: 8 } },
    });
    expect(JSON.stringify(made.body)).not.toContain(token);
    const host = callerOf(casemate.url, token);
    const beat = await host("POST", "/api/v1/metal-instances/heartbeat", {
      ...{ metalInstanceId: id, availableArtifactVersions: ["0.0.9"] },
    });
    expect(beat.body).toEqual({ metalInstanceId: id, expectedArtifactVersions: ["0.1.0"] });
    const next = newToken();
    const again = await register(host, { ...about(id, next), agentVersion: "0.3.1" });
    expect(again.body).toMatchObject({ agentVersion: "0.3.1", availableArtifactVersions: ["0.0.9"] });
    const body = { metalInstanceId: id, availableArtifactVersions: [] };
    expect((await host("POST", "/api/v1/metal-instances/heartbeat", body)).status).toBe(401);
    expect(
      (await callerOf(casemate.url, next)("POST", "/api/v1/metal-instances/heartbeat", body)).status,
    ).toBe(200);
  });

  it("is reached where the operator says, and does not say so itself", async () => {
    const [id, token] = [randomUUID(), newToken()];
    const { domain } = (await register(admin, about(id, token))).body;
    const { lookup } = openZoneRecords({
      db: casemate.control.db.run,
      zone: "workloads.localhost",
      instancesZone: "instances.test",
    });
    const leadsTo = (address: string) =>
      expect.poll(() => lookup(domain, "A"), { timeout: 10_000 }).toEqual([{ type: "A", address }]);
    await leadsTo("192.0.2.7");
    const stolen = callerOf(casemate.url, token);
    const moved = { ...about(id, token), publicIp: "198.51.100.66" };
    const refused = await register(stolen, moved);
    expect([refused.status, refused.body.kind]).toEqual([400, "INVALID_PAYLOAD"]);
    expect(refused.body.error).toContain("publicIp");
    expect((await admin("GET", `/api/v1/metal-instances/${id}`)).body.publicIp).toBe("192.0.2.7");
    await leadsTo("192.0.2.7");
    expect((await register(admin, moved)).body.publicIp).toBe("198.51.100.66");
    await leadsTo("198.51.100.66");
    expect((await register(stolen, moved)).status).toBe(200);
    // One that came over the link is reached where it listens, until the operator says otherwise.
    const own = hostUuid(casemate.host.hostId);
    const key = newToken();
    const { rows } = await sql<{ host: string }>`
      select facts->'ingress'->>'host' as host from hosts where id = ${casemate.host.hostId}`.execute(
      casemate.control.db.run,
    );
    await sql`
      insert into api_keys (id, account_id, surface, prefix, hash, scopes, host_id)
      values (${makeId("key")}, null, 'hosts', '', ${hashKey(key)}, array['hosts:own'], ${casemate.host.hostId})`.execute(
      casemate.control.db.run,
    );
    const linked = callerOf(casemate.url, key);
    expect((await register(linked, about(own, key))).status).toBe(400);
    expect((await register(linked, { ...about(own, key), publicIp: rows[0]!.host })).status).toBe(200);
  });

  it("is heard so many times a minute with its key, and then told to wait", async () => {
    const [id, token] = [randomUUID(), newToken()];
    await register(admin, about(id, token));
    const body = { metalInstanceId: id, availableArtifactVersions: [] };
    const beat = () => callerOf(casemate.url, token)("POST", "/api/v1/metal-instances/heartbeat", body);
    const first = await beat();
    expect([first.status, first.headers.get("ratelimit-policy")]).toEqual([200, '"minute";q=600;w=60']);
    // The minute may end in between.
    await expect
      .poll(
        async () => {
          await sql`
            update rate_windows set used = 600 where subject = (
              select 'key:' || id from api_keys where hash = ${hashKey(token)})`.execute(
            casemate.control.db.run,
          );
          const { status, body: told, headers } = await beat();
          return [status, told.kind, Number(headers.get("retry-after")) > 0];
        },
        { timeout: 5_000 },
      )
      .toEqual([429, "RATE_LIMITED", true]);
    expect((await register(admin, about(id, token))).status).toBe(200);
  });

  it("speaks for itself alone, and takes nobody's token", async () => {
    const [id, other, token] = [randomUUID(), randomUUID(), newToken()];
    await register(admin, about(id, token));
    const theirs = newToken();
    await register(admin, about(other, theirs));
    const host = callerOf(casemate.url, token);
    const beat = { metalInstanceId: other, availableArtifactVersions: [] };
    expect((await host("POST", "/api/v1/metal-instances/heartbeat", beat)).status).toBe(404);
    expect((await register(host, about(other, newToken()))).status).toBe(404);
    expect((await register(host, about(randomUUID(), newToken()))).status).toBe(404);
    expect((await register(host, about(id, theirs))).status).toBe(409);
    expect((await register(host, about(id, casemate.adminKey))).status).toBe(409);
    // Nothing of this changed who they are.
    const own = { metalInstanceId: other, availableArtifactVersions: [] };
    expect(
      (await callerOf(casemate.url, theirs)("POST", "/api/v1/metal-instances/heartbeat", own)).status,
    ).toBe(200);
    expect((await register(host, { ...about(id, token), cpus: { reserved: 5, total: 4 } })).status).toBe(400);
  });

  it("is deleted when it has no workloads, and not before", async () => {
    const owner = await account();
    const workload = await create(owner);
    const metalInstanceId = hostUuid(casemate.host.hostId);
    const refused = await admin("POST", "/api/v1/metal-instances/delete", { metalInstanceId });
    expect([refused.status, refused.body.kind]).toEqual([412, "METAL_INSTANCE_MANAGING_WORKLOADS"]);
    const id = randomUUID();
    const token = newToken();
    await register(admin, about(id, token));
    expect((await admin("POST", "/api/v1/metal-instances/delete", { metalInstanceId: id })).body).toEqual({});
    expect((await admin("GET", `/api/v1/metal-instances/${id}`)).status).toBe(404);
    expect((await register(callerOf(casemate.url, token), about(id, token))).status).toBe(401);
    expect((await register(admin, about(id, newToken()))).status).toBe(404);
    await owner("POST", "/api/v1/workloads/delete", { workloadId: workload });
  });

  it("says what happened to workloads on it, once each, and nothing of those elsewhere", async () => {
    const owner = await account();
    const workloadId = await create(owner);
    const [id, token, own] = [randomUUID(), newToken(), newToken()];
    await register(admin, about(id, token));
    await register(admin, about(hostUuid(casemate.host.hostId), own));
    const submit = (key: string, event: object) =>
      callerOf(casemate.url, key)("POST", "/api/v1/workload-events/submit", { workloadId, event });
    const warning = { eventId: randomUUID(), details: { kind: "warning", message: "hot" } };
    expect((await submit(token, warning)).status).toBe(404);
    expect((await submit(own, warning)).status).toBe(200);
    expect((await submit(own, warning)).status).toBe(200);
    expect((await submit(own, { details: { kind: "deleted" } })).status).toBe(400);
    const { events } = (await owner("POST", "/api/v1/workload-events/list", { workloadId })).body;
    const told = events.filter(({ details }: { details: { kind: string } }) => details.kind === "warning");
    expect(told).toMatchObject([{ eventId: warning.eventId, details: { message: "hot" } }]);
    expect((await owner("GET", `/api/v1/workloads/${workloadId}`)).body.status).toBe("running");
    await submit(own, { details: { kind: "failedToStart", error: "no disk" } });
    expect((await owner("GET", `/api/v1/workloads/${workloadId}`)).body.status).toBe("error");
    await owner("POST", "/api/v1/workloads/delete", { workloadId });
  });
});

it("a host's key writes no more than so many events of a workload in an hour", async () => {
  const owner = await account();
  const workloadId = await create(owner);
  const own = newToken();
  await register(admin, about(hostUuid(casemate.host.hostId), own));
  const host = callerOf(casemate.url, own);
  const event = { details: { kind: "warning", message: "x".repeat(1000) } };
  for (let n = 0; n < 16; n++) {
    const all = await Promise.all(
      Array.from({ length: 20 }, () => host("POST", "/api/v1/workload-events/submit", { workloadId, event })),
    );
    // What is dropped is acknowledged: a host would say it again for ever.
    expect(all.every(({ status }) => status === 200)).toBe(true);
  }
  const { events } = (await owner("POST", "/api/v1/workload-events/list", { workloadId })).body;
  expect(events.length).toBeGreaterThan(290);
  expect(events.length).toBeLessThanOrEqual(310);
  await owner("POST", "/api/v1/workloads/delete", { workloadId });
});

it("what runs on a host that is silent is charged to its last word, and to now when it is back and it ran", async () => {
  const owner = await account();
  const workloadId = await create(owner);
  const { db } = casemate.control;
  const { rows } = await sql<{ machine_id: string }>`
    select machine_id from workloads where id = ${workloadId}::uuid`.execute(db.run);
  const machine = rows[0]!.machine_id;
  const charged = async () => {
    await sql`update balances set metered_at = 'epoch'`.execute(db.run);
    await meterTurn(
      { db, converger: { send: () => {}, stop: async () => {} } },
      { meterEveryMs: 0, lowMs: 0, graceMs: 1e9 },
    );
    const entries = await sql<{ micros: number }>`
      select coalesce(-sum(amount_micros), 0)::bigint as micros from money_entries where machine_id = ${machine}`.execute(
      db.run,
    );
    return entries.rows[0]!.micros;
  };
  await casemate.host.stop();
  // Nobody writes any more when it was heard of.
  const hosts = async () =>
    ((await (await fetch(`${casemate.url}/health`)).json()) as { hosts: number }).hosts;
  await expect.poll(hosts).toBe(0);
  const heard = (ago: string) =>
    sql`
    update hosts set heard_at = now() - ${ago}::interval where id = ${casemate.host.hostId}`.execute(db.run);
  // It began two hours ago, and was heard of for the first of them. Both at once: control meters by itself too.
  await db.write(async (tx) => {
    await sql`
      update meters set meter_from = now() - interval '2 hours', meter_to = now() - interval '2 hours',
        metered_micros = 0 where machine_id = ${machine}`.execute(tx);
    await sql`
      update hosts set heard_at = now() - interval '1 hour' where id = ${casemate.host.hostId}`.execute(tx);
  });
  const before = await charged();
  await sleep(50);
  expect(await charged()).toBe(before);
  // 200 micro-units a minute, and the second or two of before.
  expect(before).toBeGreaterThanOrEqual(200 * 60);
  expect(before).toBeLessThan(200 * 62);
  await heard("0 seconds");
  const after = await charged();
  expect(after).toBeGreaterThanOrEqual(200 * 120);
  expect(after).toBeLessThan(200 * 122);
});

it("a host that was put out is not let in again at the socket either", async () => {
  const { hosts } = (await (await fetch(`${casemate.url}/health`)).json()) as { hosts: number };
  expect(hosts).toBe(0);
  await sql`update hosts set revoked_at = now() where id = ${casemate.host.hostId}`.execute(
    casemate.control.db.run,
  );
  await expect(casemate.restartHost()).rejects.toThrow("did not join");
});
