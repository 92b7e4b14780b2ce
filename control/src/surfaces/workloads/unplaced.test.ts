// SPDX-License-Identifier: Apache-2.0
/** Workloads that were taken off their host and wait for a place. */
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { HostFacts } from "#contract/link/machine.ts";
import { several } from "#link/several.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { expectRoomAndMoney } from "#testing/room-and-money.ts";
import { openFleet } from "../../core/fleet/index.ts";
import { movesTurn } from "./moves.ts";

/** A replica with no host on any link. */
const noLink = several([]);

/** As an engine does that has containers to stop and volumes to remove. */
class SlowToRemove extends FakeKeptDriver {
  removeMs = 0;
  override async remove(machineId: string): Promise<void> {
    await sleep(this.removeMs);
    await super.remove(machineId);
  }
}

const driver = new SlowToRemove();
let casemate: Installation;
let admin: Caller;
let owner: Caller;
beforeAll(async () => {
  casemate = await startInstallation({ kept: driver, config: { workloads: { graceMs: 60_000 } } });
  admin = callerOf(casemate.url, casemate.adminKey);
  const { apiToken } = (await admin("POST", "/api/v1/accounts/create", { name: "a", credits: 1000 })).body;
  owner = callerOf(casemate.url, apiToken);
});
afterAll(async () => {
  driver.removeMs = 0;
  await casemate[Symbol.asyncDispose]();
  for (const id of [...driver.running.keys()]) await driver.remove(id);
});

const statusOf = async (id: string) => (await owner("GET", `/api/v1/workloads/${id}`)).body.status;
const create = async (): Promise<string> => {
  const made = await owner("POST", "/api/v1/workloads/create", {
    ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80 },
    ...{ memory: 512, cpus: 1, disk: 5, gpus: 0, dockerCompose: "services:\n  api:\n    image: caddy:2" },
  });
  expect(made.status).toBe(201);
  await expect.poll(() => statusOf(made.body.workloadId)).toBe("running");
  return made.body.workloadId;
};
const order = async (what: "drain" | "resume", body: object) =>
  expect((await admin("POST", `/platform/v1/hosts/${casemate.host.hostId}/${what}`, body)).status).toBe(200);
const machineOf = async (id: string) => {
  const { rows } = await sql<{
    id: string;
    incarnation: number;
    host_id: string | null;
    state: string;
    want: string;
    meter: string;
  }>`
    select m.id, m.incarnation, m.host_id, m.state, m.want, t.state as meter
    from workloads w join machines m on m.id = w.machine_id join meters t on t.machine_id = m.id
    where w.id = ${id}::uuid`.execute(casemate.control.db.run);
  return rows[0]!;
};
const displaced = (id: string) =>
  expect.poll(async () => (await machineOf(id)).host_id, { timeout: 5_000 }).toBe(null);

it("one that comes back to the host it was taken off is not ended by what that host says of before", async () => {
  const id = await create();
  driver.removeMs = 2_500;
  await order("drain", { move: true });
  await displaced(id);
  // The host is still removing it when it is given it again.
  await order("resume", {});
  await expect.poll(async () => (await machineOf(id)).host_id, { timeout: 5_000 }).not.toBe(null);
  await sleep(2_500);
  driver.removeMs = 0;
  await expect.poll(() => statusOf(id), { timeout: 10_000 }).toBe("running");
  expect(await machineOf(id)).toMatchObject({ state: "running", meter: "running" });
  expect(driver.running.has((await machineOf(id)).id)).toBe(true);
  await expectRoomAndMoney(casemate.control.db.run);
  await owner("POST", "/api/v1/workloads/delete", { workloadId: id });
});

it("one is placed once, however many replicas place at once", async () => {
  const { db } = casemate.control;
  const ids = await Promise.all(Array.from({ length: 8 }, create));
  await order("drain", { move: true });
  for (const id of ids) await displaced(id);
  const before = new Map(await Promise.all(ids.map(async (id) => [id, await machineOf(id)] as const)));
  // Replicas that hold no host but know of this one: what they send is the sweep's to repeat.
  const { rows } = await sql<{ facts: HostFacts }>`
    select facts from hosts where id = ${casemate.host.hostId}`.execute(db.run);
  const turns = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const fleet = openFleet(() => noLink);
      await fleet.joined(rows[0]!.facts);
      const converger = { send: () => {}, stop: async () => {} };
      return () => movesTurn({ db, fleet, converger, observed: async () => {} });
    }),
  );
  await sql`update hosts set draining_at = null, emptying = false`.execute(db.run);
  await Promise.all(turns.map((turn) => turn()));
  await expectRoomAndMoney(db.run);
  for (const id of ids) {
    const { host_id, incarnation } = await machineOf(id);
    expect(host_id).toBe(casemate.host.hostId);
    expect(incarnation).toBe(before.get(id)!.incarnation + 1);
  }
  await sql`select pg_notify('casemate_hosts', '')`.execute(db.run);
  for (const id of ids) await expect.poll(() => statusOf(id), { timeout: 10_000 }).toBe("running");
  await expectRoomAndMoney(db.run);
  for (const id of ids) await owner("POST", "/api/v1/workloads/delete", { workloadId: id });
});

it("one that failed on a host goes back to it when the other that it waited for is gone", async () => {
  const id = await create();
  await order("drain", { move: true });
  await displaced(id);
  await sql`
    update machines set failed_hosts = array[${casemate.host.hostId}] where id = ${(await machineOf(id)).id}`.execute(
    casemate.control.db.run,
  );
  await order("resume", {});
  await expect.poll(() => statusOf(id), { timeout: 5_000 }).toBe("running");
  await owner("POST", "/api/v1/workloads/delete", { workloadId: id });
});

it("one that is stopped while it waits is stopped at once, for its owner and for its account's money", async () => {
  const id = await create();
  await order("drain", { move: true });
  await displaced(id);
  expect((await machineOf(id)).meter).toBe("admitted");
  expect((await owner("POST", "/api/v1/workloads/stop", { workloadId: id })).status).toBe(200);
  expect(await statusOf(id)).toBe("stopped");
  expect((await machineOf(id)).meter).toBe("idle");
  await expectRoomAndMoney(casemate.control.db.run);
  await order("resume", {});
  await expect.poll(async () => (await machineOf(id)).state, { timeout: 5_000 }).toBe("halted");
  expect((await owner("POST", "/api/v1/workloads/start", { workloadId: id })).status).toBe(200);
  await expect.poll(() => statusOf(id), { timeout: 5_000 }).toBe("running");
  await owner("POST", "/api/v1/workloads/delete", { workloadId: id });
});

it("one that waits for a place can be updated and restarted, and starts there as it was last wished to be", async () => {
  const id = await create();
  await order("drain", { move: true });
  await displaced(id);
  const change = async (method: string, verb: string, body: object) =>
    (await owner(method, `/api/v1/workloads/${verb}`, { workloadId: id, ...body })).status;
  expect(await change("PUT", "update", { envVars: { A: "updated" } })).toBe(200);
  expect(await change("POST", "restart", {})).toBe(200);
  expect(await change("POST", "restart", { envVars: { A: "last" } })).toBe(200);
  expect(await statusOf(id)).toBe("starting");
  expect(await machineOf(id)).toMatchObject({ host_id: null, want: "up", meter: "admitted" });
  await expectRoomAndMoney(casemate.control.db.run);
  await order("resume", {});
  await expect.poll(() => statusOf(id), { timeout: 10_000 }).toBe("running");
  expect(driver.running.get((await machineOf(id)).id)?.payload.env).toMatchObject({ A: "last" });
  await expectRoomAndMoney(casemate.control.db.run);
  await owner("POST", "/api/v1/workloads/delete", { workloadId: id });
});

it("one that was stopped while it waits is refused a start until it has a place, and keeps what it was given", async () => {
  const id = await create();
  await order("drain", { move: true });
  await displaced(id);
  await owner("POST", "/api/v1/workloads/stop", { workloadId: id });
  const refused = await owner("POST", "/api/v1/workloads/start", { workloadId: id });
  expect([refused.status, refused.headers.has("retry-after")]).toEqual([503, true]);
  expect(
    (await owner("PUT", "/api/v1/workloads/update", { workloadId: id, envVars: { A: "kept" } })).status,
  ).toBe(200);
  expect(await machineOf(id)).toMatchObject({ want: "halted", meter: "idle" });
  await order("resume", {});
  await expect
    .poll(async () => (await owner("POST", "/api/v1/workloads/start", { workloadId: id })).status, {
      timeout: 5_000,
    })
    .toBe(200);
  await expect.poll(() => statusOf(id), { timeout: 10_000 }).toBe("running");
  expect(driver.running.get((await machineOf(id)).id)?.payload.env).toMatchObject({ A: "kept" });
  await owner("POST", "/api/v1/workloads/delete", { workloadId: id });
});
