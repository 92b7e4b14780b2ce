// SPDX-License-Identifier: Apache-2.0
/** A workload that is taken off its host by a replica that dies before it can tell the host. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import type { RunningHost } from "#host/assemble.ts";
import { startBrokerHost } from "#testing/broker-host.ts";
import { lastTurnOfDying } from "#testing/dying-replica.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { natsServer, startNatsServer, type TestNats } from "#testing/nats-server.ts";
import { describeWith } from "#testing/requirements.ts";
import { expectRoomAndMoney } from "#testing/room-and-money.ts";

const folder = mkdtempSync(join(tmpdir(), "casemate-moves-crash-"));
const ids = [0, 1].map(() => `host_${randomBytes(16).toString("hex")}`);
const drivers = new Map(ids.map((id) => [id, new FakeKeptDriver()]));
const hosts = new Map<string, RunningHost>();
let nats: TestNats;
let casemate: Installation;
let admin: Caller;
let owner: Caller;

describeWith([natsServer], "a workload whose replica died over its move", () => {
  beforeAll(async () => {
    nats = await startNatsServer(ids);
    const seedFile = join(folder, "control.seed");
    writeFileSync(seedFile, nats.controlSeed, { mode: 0o600 });
    casemate = await startInstallation({
      withHost: false,
      config: { link: { nats: { servers: [nats.url], seedFile } } },
    });
    for (const hostId of ids) await begin(hostId);
    await vi.waitFor(
      async () => {
        const health = (await (await fetch(`${casemate.url}/health`)).json()) as { hosts: number };
        expect(health.hosts).toBe(2);
      },
      { timeout: 10_000, interval: 50 },
    );
    admin = callerOf(casemate.url, casemate.adminKey);
    const { apiToken } = (await admin("POST", "/api/v1/accounts/create", { name: "a", credits: 1000 })).body;
    owner = callerOf(casemate.url, apiToken);
  });
  afterAll(async () => {
    for (const host of hosts.values()) await host.stop();
    await casemate?.[Symbol.asyncDispose]();
    await nats?.stop();
    for (const driver of drivers.values())
      for (const id of [...driver.running.keys()]) await driver.remove(id);
    rmSync(folder, { recursive: true, force: true });
  });

  const begin = async (hostId: string) => {
    const place = { folder: join(folder, hostId), hostId, driver: drivers.get(hostId)! };
    hosts.set(hostId, await startBrokerHost(nats, place));
  };
  const driverOf = (hostId: string) => drivers.get(hostId)!;
  const db = () => casemate.control.db;
  const rowOf = async (workloadId: string) => {
    const { rows } = await sql<{ id: string; host_id: string | null; state: string }>`
      select m.id, m.host_id, m.state from machines m join workloads w on w.machine_id = m.id
      where w.id = ${workloadId}::uuid`.execute(db().run);
    return rows[0]!;
  };
  /** A workload that a dying replica has just taken off `from`, and the host that is left for it. */
  const displaced = async () => {
    const { body } = await owner("POST", "/api/v1/workloads/create", {
      ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80 },
      ...{ memory: 512, cpus: 1, disk: 5, gpus: 0, dockerCompose: "services:\n  api:\n    image: caddy:2" },
    });
    const workloadId: string = body.workloadId;
    for (let tries = 0; tries < 10; tries++) {
      await expect.poll(async () => (await rowOf(workloadId)).state, { timeout: 10_000 }).toBe("running");
      const { id, host_id: from } = await rowOf(workloadId);
      await sql`update hosts set emptying = true, draining_at = now() where id = ${from}`.execute(db().run);
      const died = await lastTurnOfDying(db());
      await sql`update hosts set emptying = false where id = ${from}`.execute(db().run);
      if (died) return { workloadId, id, from: from!, other: ids.find((each) => each !== from)! };
      // The replica that lives looked first, and told the host.
      await resume(from!);
    }
    throw new Error("the other replica was always first");
  };
  const resume = (hostId: string) => admin("POST", `/platform/v1/hosts/${hostId}/resume`, {});
  const runsAt = (machine: string) => ids.filter((id) => driverOf(id).running.has(machine));

  it("runs on its new host alone, and leaves nothing on the old one, which never lost its connection", async () => {
    const { workloadId, id, from, other } = await displaced();
    await expect
      .poll(() => rowOf(workloadId), { timeout: 10_000 })
      .toMatchObject({ host_id: other, state: "running" });
    await expect.poll(() => runsAt(id), { timeout: 10_000 }).toEqual([other]);
    await expect.poll(() => driverOf(from).disks.has(id), { timeout: 10_000 }).toBe(false);
    // The host has said so, and is told no more.
    await expect
      .poll(async () => (await sql`select 1 from machine_leavings`.execute(db().run)).rows, {
        timeout: 10_000,
      })
      .toEqual([]);
    await expectRoomAndMoney(db().run);
    await resume(from);
    await owner("POST", "/api/v1/workloads/delete", { workloadId });
  });

  it("is removed from a host that was away when it should have been told", async () => {
    const { workloadId, id, from, other } = await displaced();
    await hosts.get(from)!.stop();
    await expect
      .poll(() => rowOf(workloadId), { timeout: 10_000 })
      .toMatchObject({ host_id: other, state: "running" });
    await begin(from);
    await expect.poll(() => runsAt(id), { timeout: 10_000 }).toEqual([other]);
    await expect.poll(() => driverOf(from).disks.has(id), { timeout: 10_000 }).toBe(false);
    await resume(from);
    await owner("POST", "/api/v1/workloads/delete", { workloadId });
  });

  it("is removed from a host that speaks of it, although nobody remembers that it is to be told", async () => {
    await sql
      .raw(`
      create function forget() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger forget before insert on machine_leavings for each row execute function forget()`)
      .execute(db().run);
    const { workloadId, id, from, other } = await displaced();
    await sql.raw("drop function forget() cascade").execute(db().run);
    await expect
      .poll(() => rowOf(workloadId), { timeout: 10_000 })
      .toMatchObject({ host_id: other, state: "running" });
    expect(runsAt(id).toSorted()).toEqual(ids.toSorted());
    await driverOf(from).die(id, "exited with 1");
    await expect
      .poll(() => driverOf(from).disks.has(id) || driverOf(from).running.has(id), { timeout: 10_000 })
      .toBe(false);
    expect(runsAt(id)).toEqual([other]);
    await resume(from);
    await owner("POST", "/api/v1/workloads/delete", { workloadId });
  });
});
