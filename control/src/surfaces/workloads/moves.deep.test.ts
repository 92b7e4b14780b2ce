// SPDX-License-Identifier: Apache-2.0
/**
 * Hosts that come, are emptied, taken back and put out, while workloads are made, stopped, started,
 * updated and deleted, over two replicas of control that all hosts are connected to. Whatever the order:
 * room and money are counted right at every moment, nothing stays on two hosts that are in, and what is
 * wanted ends up running. Replicas die over what they would say to a host that a workload was taken off. The seed is printed with a failure.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import { expect, it } from "vitest";
import type { RunningHost } from "#host/assemble.ts";
import { startBrokerHost } from "#testing/broker-host.ts";
import { lastTurnOfDying } from "#testing/dying-replica.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { natsServer, startNatsServer } from "#testing/nats-server.ts";
import { randomOf } from "#testing/random.ts";
import { describeWith } from "#testing/requirements.ts";
import { expectRoomAndMoney } from "#testing/room-and-money.ts";

const SEED = Number(process.env.CASEMATE_CHAOS_SEED ?? Date.now() % 1_000_000);
const ROUNDS = Number(process.env.CASEMATE_CHAOS_ROUNDS ?? 40);
const AT_ONCE = 4;
const HOSTS = 4;
/** So small that there is not always room. */
const CEILING = { cpuMillis: 8_000, memoryMiB: 16_384, diskMiB: 81_920 };

const ask = (size: object) => ({
  ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80, gpus: 0 },
  dockerCompose: "services:\n  api:\n    image: caddy:2",
  ...size,
});
const SIZES = [
  { cpus: 1, memory: 512, disk: 5 },
  { cpus: 2, memory: 4096, disk: 20 },
];

/** As an engine is that has containers to stop and volumes to remove. */
class SlowDriver extends FakeKeptDriver {
  #pauseMs: () => number;
  constructor(pauseMs: () => number) {
    super();
    this.#pauseMs = pauseMs;
  }
  override async halt(machineId: string): Promise<void> {
    await sleep(this.#pauseMs());
    await super.halt(machineId);
  }
  override async remove(machineId: string): Promise<void> {
    await sleep(this.#pauseMs());
    await super.remove(machineId);
  }
}

interface Row {
  id: string;
  host_id: string | null;
  want: string;
  state: string;
  status: string;
  deleted: boolean;
}

describeWith([natsServer], "workloads whose hosts come and go", () => {
  it(`are counted right, never twice there, and run when there is room (seed ${SEED})`, async () => {
    const random = randomOf(SEED);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
    const folder = mkdtempSync(join(tmpdir(), "casemate-moves-"));
    const ids = Array.from({ length: HOSTS + 1 }, () => `host_${randomBytes(16).toString("hex")}`);
    const nats = await startNatsServer(ids);
    const seedFile = join(folder, "control.seed");
    writeFileSync(seedFile, nats.controlSeed, { mode: 0o600 });
    const config = {
      link: { nats: { servers: [nats.url], seedFile } },
      workloads: { requestsPerMinute: null, meterEveryMs: 100, lowMs: 0, graceMs: 60_000 },
    };
    const drivers = new Map(
      ids.map((id) => [id, new SlowDriver(() => (random() < 0.5 ? 0 : random() * 2_000))]),
    );
    const replicas: Installation[] = [];
    const hosts = new Map<string, RunningHost>();
    const putOut = new Set<string>();
    const begin = async (hostId: string, ceiling = CEILING) => {
      const place = { folder: join(folder, hostId), hostId, driver: drivers.get(hostId)! };
      hosts.set(hostId, await startBrokerHost(nats, place, ceiling));
    };
    try {
      replicas.push(await startInstallation({ withHost: false, config, replica: "one" }));
      const database = replicas[0]!.connection;
      replicas.push(await startInstallation({ withHost: false, config, replica: "two", database }));
      const { db } = replicas[0]!.control;
      await begin(ids[0]!);
      await begin(ids[1]!);
      const both = async (count: number) => {
        for (const { url } of replicas)
          await expect
            .poll(async () => ((await (await fetch(`${url}/health`)).json()) as { hosts: number }).hosts, {
              timeout: 10_000,
            })
            .toBe(count);
      };
      await both(2);
      const adminOf = (n: number) => callerOf(replicas[n]!.url, replicas[1]!.adminKey);
      const keys: string[] = [];
      for (let n = 0; n < 2; n++)
        keys.push(
          (await adminOf(0)("POST", "/api/v1/accounts/create", { name: `a${n}`, credits: 1e6 })).body
            .apiToken,
        );
      const caller = (): Caller => callerOf(pick(replicas).url, pick(keys));

      const rows = async (): Promise<Row[]> =>
        (
          await sql<Row>`
            select m.id, m.host_id, m.want, m.state, w.status, w.deleted_at is not null as deleted
            from machines m join workloads w on w.machine_id = m.id`.execute(db.run)
        ).rows;
      const verb = async () => {
        const me = caller();
        const mine = (await me("GET", "/api/v1/workloads/list")).body as { workloadId: string }[];
        const roll = random();
        if (mine.length === 0 || roll < 0.35) return me("POST", "/api/v1/workloads/create", ask(pick(SIZES)));
        const { workloadId } = pick(mine);
        if (roll > 0.92)
          return me("PUT", "/api/v1/workloads/update", { workloadId, envVars: { A: String(roll) } });
        const what = pick(["start", "start", "stop", "restart", "delete"]);
        return me("POST", `/api/v1/workloads/${what}`, { workloadId });
      };
      const inside = () => [...hosts.keys()].filter((id) => !putOut.has(id));
      /** What an operator does. */
      const order = async () => {
        const admin = adminOf(random() < 0.5 ? 0 : 1);
        const id = pick(inside());
        const roll = random();
        if (roll < 0.1) {
          await hosts.get(id)!.stop();
          await begin(id);
          return;
        }
        const hostPath = `/platform/v1/hosts/${id}`;
        if (roll < 0.2) {
          await admin("POST", `${hostPath}/drain`, { move: true });
          while (random() < 0.9 && (await lastTurnOfDying(db)));
          return;
        }
        if (roll < 0.4) {
          await admin("POST", `${hostPath}/drain`, { move: random() < 0.8 });
          return;
        }
        if (roll < 0.8) {
          await admin("POST", `${hostPath}/resume`, {});
          return;
        }
        if (roll < 0.9) {
          const next = ids.slice(0, HOSTS).find((each) => !hosts.has(each));
          if (next !== undefined) await begin(next);
          return;
        }
        if (inside().length < 2) return;
        putOut.add(id);
        // The emptying of it and its end at the same moment, asked of both replicas.
        await Promise.all([
          adminOf(0)("POST", `${hostPath}/drain`, { move: true }),
          adminOf(1)("POST", `${hostPath}/revoke`, {}),
        ]);
      };

      for (let round = 0; round < ROUNDS; round++) {
        const replies = await Promise.all([
          ...Array.from({ length: AT_ONCE }, verb),
          ...(random() < 0.4 ? [order().then(() => ({ status: 200, body: null }))] : []),
        ]);
        const alive = pick(inside());
        const victims = [...drivers.get(alive)!.running.keys()];
        if (random() < 0.1 && victims.length > 0)
          await drivers.get(alive)!.die(pick(victims), "exited with 1");
        for (const { status, body } of replies)
          expect([200, 201, 404, 412, 503], JSON.stringify(body)).toContain(status);
        await expectRoomAndMoney(db.run);
        await sleep(random() * 400);
      }

      // Now there is room for all.
      for (const id of inside()) await adminOf(0)("POST", `/platform/v1/hosts/${id}/resume`, {});
      await begin(ids[HOSTS]!, { cpuMillis: 256_000, memoryMiB: 1_048_576, diskMiB: 10_485_760 });
      // One is to be emptied for good, by replicas that each die over one workload of it; the others may be quicker.
      const emptied = ids
        .slice(0, HOSTS)
        .find((id) => inside().includes(id) && drivers.get(id)!.running.size > 0);
      if (emptied !== undefined) {
        await adminOf(0)("POST", `/platform/v1/hosts/${emptied}/drain`, { move: true });
        while (await lastTurnOfDying(db));
      }
      const amiss = async () => {
        const found: string[] = [];
        const places = new Map<string, string[]>();
        for (const id of inside())
          for (const machine of drivers.get(id)!.running.keys())
            places.set(machine, [...(places.get(machine) ?? []), id]);
        for (const row of await rows()) {
          const at = (places.get(row.id) ?? []).join(",");
          places.delete(row.id);
          const right = row.deleted
            ? row.state === "ended" && at === ""
            : row.want === "up"
              ? row.state === "running" && row.status === "running" && at === row.host_id
              : row.state === "halted" && ["stopped", "error"].includes(row.status) && at === "";
          if (!right) found.push(`${JSON.stringify(row)} runs at [${at}]`);
          for (const id of inside())
            if (drivers.get(id)!.disks.has(row.id) && (row.deleted || row.host_id !== id))
              found.push(`${JSON.stringify(row)} has its disk at ${id}`);
        }
        for (const machine of places.keys()) found.push(`${machine} runs and nobody knows it`);
        return found;
      };
      await expect.poll(amiss, { timeout: 30_000, interval: 300 }).toEqual([]);
      await expectRoomAndMoney(db.run);

      for (const key of keys)
        for (const { workloadId } of (await callerOf(replicas[0]!.url, key)("GET", "/api/v1/workloads/list"))
          .body)
          await callerOf(replicas[1]!.url, key)("POST", "/api/v1/workloads/delete", { workloadId });
      await expect.poll(amiss, { timeout: 20_000, interval: 300 }).toEqual([]);
      const { rows: left } = await sql`
        select id from hosts where cpu_used + memory_used + disk_used > 0`.execute(db.run);
      expect(left).toEqual([]);
      await expectRoomAndMoney(db.run);
    } finally {
      for (const host of hosts.values()) await host.stop();
      for (const replica of replicas.toReversed()) await replica[Symbol.asyncDispose]();
      await nats.stop();
      for (const driver of drivers.values())
        for (const id of [...driver.running.keys()]) await driver.remove(id);
      rmSync(folder, { recursive: true, force: true });
    }
  }, 180_000);
});
