// SPDX-License-Identifier: Apache-2.0
/** A disk that follows its workload from host to host: whoever goes away in the middle, it is there once, whole, and where the machine runs. */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import type { DiskPart } from "#drivers/kept-driver.ts";
import type { RunningHost } from "#host/assemble.ts";
import { AttestedDriver } from "#testing/attested-driver.ts";
import { startBrokerHost } from "#testing/broker-host.ts";
import { lastTurnOfDying } from "#testing/dying-replica.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { natsServer, startNatsServer, type TestNats } from "#testing/nats-server.ts";
import { describeWith } from "#testing/requirements.ts";
import { expectRoomAndMoney } from "#testing/room-and-money.ts";
import { writeSpecimenImage } from "#testing/specimen-image.ts";

const VERSION = "0.1.0";
const LONG = { timeout: 30_000, interval: 50 };
const folder = mkdtempSync(join(tmpdir(), "casemate-travel-"));

/** A disk that comes to it or goes from it stands still while there is a gate. */
class GatedDriver extends AttestedDriver {
  gate: Promise<void> | null = null;
  /** A part that it lends before the others. */
  before: DiskPart | null = null;
  readonly came = vi.fn();

  override async readDisk(machineId: string, signal: AbortSignal): Promise<AsyncIterable<DiskPart>> {
    const parts = this.#held(await super.readDisk(machineId, signal), signal);
    const { before } = this;
    if (before === null) return parts;
    return (async function* () {
      yield before;
      yield* parts;
    })();
  }

  override writeDisk(machineId: string, parts: AsyncIterable<DiskPart>, signal: AbortSignal): Promise<void> {
    return super.writeDisk(machineId, this.#held(parts, signal), signal);
  }

  async *#held(parts: AsyncIterable<DiskPart>, signal: AbortSignal): AsyncGenerator<DiskPart> {
    const over = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    for await (const part of parts) {
      this.came();
      await Promise.race([this.gate, over]);
      signal.throwIfAborted();
      yield part;
    }
  }
}

const ids = [0, 1].map(() => `host_${randomBytes(16).toString("hex")}`);
const drivers = new Map<string, GatedDriver>();
const hosts = new Map<string, RunningHost>();
let nats: TestNats;
let casemate: Installation;
const replicas: Installation[] = [];
let admin: Caller;
let owner: Caller;

describeWith([natsServer], "a workload's disk", () => {
  beforeAll(async () => {
    const images = join(folder, "images");
    const image = await writeSpecimenImage(images, VERSION);
    for (const id of ids) {
      mkdirSync(join(folder, id, "disks"), { recursive: true });
      const driver = new GatedDriver("vm", join(folder, id, "disks"));
      driver.images.set(image.sha256, image.metadata);
      drivers.set(id, driver);
    }
    nats = await startNatsServer(ids);
    const seedFile = join(folder, "control.seed");
    writeFileSync(seedFile, nats.controlSeed, { mode: 0o600 });
    await openControl();
    for (const hostId of ids) await begin(hostId);
    await hostsThere(2);
    const { apiToken } = (await admin("POST", "/api/v1/accounts/create", { name: "a", credits: 1e6 })).body;
    owner = callerOf(casemate.url, apiToken);
    token = apiToken;
  });
  afterEach(async () => {
    for (const id of ids) {
      drivers.get(id)!.gate = null;
      if (!hosts.has(id)) await begin(id);
      await admin("POST", `/platform/v1/hosts/${id}/resume`, {});
    }
    await hostsThere(2);
    for (const { workloadId } of (await owner("GET", "/api/v1/workloads/list")).body)
      await owner("POST", "/api/v1/workloads/delete", { workloadId });
    // Nothing of any of them is left anywhere.
    const left = () => ids.flatMap((id) => readdirSync(join(folder, id, "disks")));
    await vi.waitFor(() => expect(left()).toEqual([]), LONG);
    await expectRoomAndMoney(db().run);
  });
  afterAll(async () => {
    for (const host of hosts.values()) await host.stop();
    for (const one of replicas.toReversed()) await one[Symbol.asyncDispose]();
    await nats?.stop();
    for (const driver of drivers.values())
      for (const id of [...driver.running.keys()]) await driver.remove(id);
    rmSync(folder, { recursive: true, force: true });
  });

  let token = "";
  const openControl = async () => {
    const before = casemate?.connection;
    casemate = await startInstallation({
      withHost: false,
      ...(before !== undefined && { database: before, replica: `replica-${replicas.length}` }),
      config: {
        link: { nats: { servers: [nats.url], seedFile: join(folder, "control.seed") } },
        imagesFolder: join(folder, "images"),
        workloads: { isolation: "vm", requestsPerMinute: null },
      },
    });
    replicas.push(casemate);
    admin = callerOf(casemate.url, casemate.adminKey);
    owner = callerOf(casemate.url, token);
  };
  const begin = async (hostId: string) => {
    const place = { folder: join(folder, hostId), hostId, driver: driverOf(hostId), heartbeatMs: 5_000 };
    hosts.set(hostId, await startBrokerHost(nats, place));
  };
  const end = async (hostId: string) => {
    await hosts.get(hostId)!.stop();
    hosts.delete(hostId);
  };
  // Also in hooks, where there is no expect.poll.
  const hostsThere = (count: number) =>
    vi.waitFor(async () => {
      const health = (await (await fetch(`${casemate.url}/health`)).json()) as { hosts: number };
      expect(health.hosts).toBe(count);
    }, LONG);
  const driverOf = (hostId: string) => drivers.get(hostId)!;
  const otherThan = (hostId: string) => ids.find((id) => id !== hostId)!;
  const db = () => casemate.control.db;
  const rowOf = async (workloadId: string) => {
    const { rows } = await sql<{
      id: string;
      host_id: string | null;
      state: string;
      disk_host_id: string | null;
    }>`
      select m.id, m.host_id, m.state, m.disk_host_id from machines m join workloads w on w.machine_id = m.id
      where w.id = ${workloadId}::uuid`.execute(db().run);
    return rows[0]!;
  };
  const becomes = (workloadId: string, row: object) =>
    expect.poll(() => rowOf(workloadId), LONG).toMatchObject(row);
  const create = async () => {
    const { status, body } = await owner("POST", "/api/v1/workloads/create", {
      ...{ name: "w", artifactsVersion: VERSION, publicContainerName: "api", publicContainerPort: 80 },
      ...{ memory: 512, cpus: 1, disk: 5, gpus: 0, dockerCompose: "services:\n  api:\n    image: caddy:2" },
    });
    expect([status, body]).toMatchObject([201, { isolation: "vm" }]);
    const workloadId: string = body.workloadId;
    await becomes(workloadId, { state: "running" });
    const { id, host_id } = await rowOf(workloadId);
    const lines = driverOf(host_id!).linesOn(id)!;
    expect(lines).toHaveLength(1);
    return { workloadId, id, from: host_id!, to: otherThan(host_id!), lines };
  };
  const drain = async (hostId: string) =>
    expect((await admin("POST", `/platform/v1/hosts/${hostId}/drain`, { move: true })).status).toBe(200);
  const warnings = async (workloadId: string): Promise<string[]> => {
    const { events } = (await owner("POST", "/api/v1/workload-events/list", { workloadId })).body;
    return events.map(({ details }: { details: { message?: string } }) => details.message ?? "");
  };
  const runsAt = (machine: string) => ids.filter((id) => driverOf(id).running.has(machine));
  const linesAt = (id: string, machine: string) => driverOf(id).linesOn(machine);
  /** From now on this host does not get through with a disk. */
  const held = (hostId: string) => {
    const driver = driverOf(hostId);
    const gate = Promise.withResolvers<void>();
    driver.came.mockClear();
    driver.gate = gate.promise;
    return {
      begun: () => expect.poll(() => driver.came.mock.calls.length, LONG).toBeGreaterThan(0),
      letGo: () => {
        driver.gate = null;
        gate.resolve();
      },
    };
  };

  it("comes to another host with it, and is there alone", async () => {
    const { workloadId, id, from, to, lines } = await create();
    await drain(from);
    await becomes(workloadId, { host_id: to, state: "running", disk_host_id: null });
    expect(runsAt(id)).toEqual([to]);
    expect(linesAt(to, id)).toEqual([...lines, expect.any(String)]);
    await expect.poll(() => linesAt(from, id), LONG).toBeNull();
    expect(await warnings(workloadId)).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/starts there when its disk has come/),
        "its disk has come to its new host",
      ]),
    );
  });

  it("counts on both hosts until it has come, and the machine runs on neither", async () => {
    const { workloadId, id, from, to, lines } = await create();
    const gate = held(to);
    await drain(from);
    await gate.begun();
    await becomes(workloadId, { host_id: to, disk_host_id: from });
    expect(runsAt(id)).toEqual([]);
    expect(linesAt(from, id)).toEqual(lines);
    expect(linesAt(to, id)).toBeNull();
    await expectRoomAndMoney(db().run);
    const { rows } = await sql<{ used: number }>`select sum(disk_used)::int as used from hosts`.execute(
      db().run,
    );
    expect(rows[0]!.used).toBe(2 * 5 * 1024);
    // The old host is not empty before.
    const { hosts: seen } = (await admin("GET", "/platform/v1/hosts")).body;
    expect(seen.find((one: { id: string }) => one.id === from)).toMatchObject({ machines: 1 });
    gate.letGo();
    await becomes(workloadId, { host_id: to, state: "running", disk_host_id: null });
    expect(linesAt(to, id)).toEqual([...lines, expect.any(String)]);
  });

  it("of one that is stopped comes too, and is there when it is started", async () => {
    const { workloadId, id, from, to, lines } = await create();
    await owner("POST", "/api/v1/workloads/stop", { workloadId });
    await becomes(workloadId, { state: "halted" });
    await drain(from);
    await becomes(workloadId, { host_id: to, state: "halted", disk_host_id: null });
    expect(linesAt(to, id)).toEqual(lines);
    await owner("POST", "/api/v1/workloads/start", { workloadId });
    await becomes(workloadId, { state: "running" });
    expect(linesAt(to, id)).toEqual([...lines, expect.any(String)]);
  });

  it.each(["old", "new"])(
    "comes again from the beginning when the %s host goes in the middle",
    async (which) => {
      const { workloadId, id, from, to, lines } = await create();
      const gone = which === "old" ? from : to;
      const gate = held(gone);
      await drain(from);
      await gate.begun();
      await end(gone);
      gate.letGo();
      if (which === "old") {
        // Again each time: what was under way when it went may still say that it was there.
        const told = async () => {
          await sql`update hosts set last_seen = now() - interval '1 hour' where id = ${from}`.execute(
            db().run,
          );
          return (await warnings(workloadId)).filter((text) => /is on a host that is away/.test(text));
        };
        await expect.poll(told, LONG).toHaveLength(1);
      }
      expect(runsAt(id)).toEqual([]);
      expect(linesAt(from, id)).toEqual(lines);
      expect(linesAt(to, id)).toBeNull();
      await begin(gone);
      await becomes(workloadId, { host_id: to, state: "running", disk_host_id: null });
      expect(linesAt(to, id)).toEqual([...lines, expect.any(String)]);
      await expect.poll(() => linesAt(from, id), LONG).toBeNull();
    },
  );

  it("comes when control has died over the move, and another in the middle of the disk", async () => {
    const { workloadId, id, from, to, lines } = await create();
    const gate = held(to);
    await sql`update hosts set emptying = true, draining_at = now() where id = ${from}`.execute(db().run);
    await lastTurnOfDying(db());
    await gate.begun();
    await casemate.control.close();
    await openControl();
    gate.letGo();
    await becomes(workloadId, { host_id: to, state: "running", disk_host_id: null });
    expect(runsAt(id)).toEqual([to]);
    expect(linesAt(to, id)).toEqual([...lines, expect.any(String)]);
    await expect.poll(() => linesAt(from, id), LONG).toBeNull();
  });

  it("stays where it is when the machine comes back to it before it was fetched", async () => {
    const { workloadId, id, from, to, lines } = await create();
    await end(to);
    await hostsThere(1);
    await drain(from);
    await becomes(workloadId, { host_id: null, disk_host_id: from });
    await expect.poll(() => runsAt(id), LONG).toEqual([]);
    await admin("POST", `/platform/v1/hosts/${from}/resume`, {});
    await becomes(workloadId, { host_id: from, state: "running", disk_host_id: null });
    expect(linesAt(from, id)).toEqual([...lines, expect.any(String)]);
    await expectRoomAndMoney(db().run);
  });

  it("that is not what a disk of this size can be is not taken, its owner is told, and the old place counts", async () => {
    const { workloadId, id, from, to, lines } = await create();
    driverOf(from).before = { offset: 5 * 1024 ** 3, bytes: Buffer.alloc(4096, 1) };
    await drain(from);
    const told = async () => (await warnings(workloadId)).filter((text) => /could not be fetched/.test(text));
    await expect.poll(told, LONG).not.toEqual([]);
    expect(await rowOf(workloadId)).toMatchObject({ host_id: to, disk_host_id: from });
    expect([runsAt(id), linesAt(from, id), linesAt(to, id)]).toEqual([[], lines, null]);
    driverOf(from).before = null;
    await becomes(workloadId, { host_id: to, state: "running", disk_host_id: null });
    expect(linesAt(to, id)).toEqual([...lines, expect.any(String)]);
    expect(await told()).toHaveLength(1);
  });

  it("is lost with a host that is put out, and only then does the machine start without it", async () => {
    const { workloadId, id, from, to, lines } = await create();
    const gate = held(from);
    await drain(from);
    await gate.begun();
    await sql`update hosts set revoked_at = now() where id = ${from}`.execute(db().run);
    await becomes(workloadId, { host_id: to, state: "running", disk_host_id: null });
    expect(linesAt(to, id)).toEqual([expect.not.stringMatching(lines[0]!)]);
    expect(await warnings(workloadId)).toContain(
      "the host that had its disk is gone; it starts with an empty one",
    );
    await expectRoomAndMoney(db().run);
    gate.letGo();
    await sql`update hosts set revoked_at = null where id = ${from}`.execute(db().run);
  });

  it("goes with a workload that is deleted while it is on its way", async () => {
    const { workloadId, id, from, to } = await create();
    const gate = held(to);
    await drain(from);
    await gate.begun();
    await owner("POST", "/api/v1/workloads/delete", { workloadId });
    gate.letGo();
    await expect.poll(() => [linesAt(from, id), linesAt(to, id)], LONG).toEqual([null, null]);
    await expect.poll(async () => (await rowOf(workloadId)).disk_host_id, LONG).toBeNull();
  });
});
