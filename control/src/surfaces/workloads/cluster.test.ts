// SPDX-License-Identifier: Apache-2.0
/**
 * Two replicas of control on one database and two hosts, which meet only at a real broker. Under a load
 * of creates the broker is killed, a replica goes, and a host goes and comes back: no acknowledged
 * workload is lost, none is doubled.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import type { RunningHost } from "#host/assemble.ts";
import { startBrokerHost } from "#testing/broker-host.ts";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { type Caller, callerOf, type Installation, startInstallation } from "#testing/installation.ts";
import { natsServer, startNatsServer } from "#testing/nats-server.ts";
import { describeWith } from "#testing/requirements.ts";

const ASK = {
  ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80, gpus: 0 },
  dockerCompose: "services:\n  api:\n    image: caddy:2",
  ...{ memory: 512, cpus: 1, disk: 5 },
};
const WORKLOADS = 24;

describeWith([natsServer], "a cluster", () => {
  it("loses and doubles no acknowledged workload when its broker, a replica and a host go", async () => {
    const folder = mkdtempSync(join(tmpdir(), "casemate-cluster-"));
    const ids = [0, 1].map(() => `host_${randomBytes(16).toString("hex")}`);
    const nats = await startNatsServer(ids);
    const seedFile = join(folder, "control.seed");
    writeFileSync(seedFile, nats.controlSeed, { mode: 0o600 });
    const config = {
      link: { nats: { servers: [nats.url], seedFile } },
      workloads: { requestsPerMinute: null },
    };
    const drivers = ids.map(() => new FakeKeptDriver());
    const replicas: Installation[] = [];
    const hosts: (RunningHost | null)[] = [];
    try {
      replicas.push(await startInstallation({ withHost: false, config, replica: "one" }));
      replicas.push(
        await startInstallation({
          ...{ withHost: false, config, replica: "two" },
          database: replicas[0]!.connection,
        }),
      );
      const begin = (n: number) =>
        startBrokerHost(nats, { folder: join(folder, String(n)), hostId: ids[n]!, driver: drivers[n]! });
      for (const n of [0, 1]) hosts.push(await begin(n));
      const urls = replicas.map(({ url }) => url);
      for (const url of urls)
        await expect
          .poll(async () => ((await (await fetch(`${url}/health`)).json()) as { hosts: number }).hosts, {
            timeout: 10_000,
          })
          .toBe(2);

      // The newest replica's operator is the one that counts.
      const admin = callerOf(urls[0]!, replicas[1]!.adminKey);
      const { apiToken } = (await admin("POST", "/api/v1/accounts/create", { name: "a", credits: 1e6 })).body;
      const callers: Caller[] = urls.map((url) => callerOf(url, apiToken));
      const acknowledged: string[] = [];
      let gone = -1;
      const create = async (n: number) => {
        for (;;) {
          const at = gone === n % 2 ? (n + 1) % 2 : n % 2;
          const reply = await callers[at]!("POST", "/api/v1/workloads/create", ASK, {
            "idempotency-key": `create-${n}`,
          }).catch(() => null);
          if (reply?.status === 201) return void acknowledged.push(reply.body.workloadId);
          await sleep(50);
        }
      };
      const load = (async () => {
        for (let n = 0; n < WORKLOADS; n += 2) {
          await Promise.all([create(n), create(n + 1)]);
          await sleep(100);
        }
      })();

      await sleep(300);
      await nats.kill();
      await sleep(300);
      await nats.start();
      await sleep(300);
      await hosts[1]!.stop();
      hosts[1] = null;
      await sleep(300);
      gone = 1;
      await replicas[1]!.control.close();
      await load;
      hosts[1] = await begin(1);

      expect(new Set(acknowledged).size).toBe(WORKLOADS);
      const all = async () => (await callers[0]!("GET", "/api/v1/workloads/list")).body;
      await expect
        .poll(async () => (await all()).every(({ status }: { status: string }) => status === "running"), {
          timeout: 30_000,
          interval: 200,
        })
        .toBe(true);
      const listed = (await all()).map(({ workloadId }: { workloadId: string }) => workloadId);
      expect(listed.toSorted()).toEqual(acknowledged.toSorted());
      const running = drivers.flatMap((driver) => [...driver.running.keys()]);
      expect(running).toHaveLength(WORKLOADS);
      expect(new Set(running).size).toBe(WORKLOADS);
    } finally {
      for (const host of hosts) await host?.stop();
      for (const replica of replicas.toReversed()) await replica[Symbol.asyncDispose]();
      await nats.stop();
      for (const driver of drivers) for (const id of [...driver.running.keys()]) await driver.remove(id);
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
