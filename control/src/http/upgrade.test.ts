// SPDX-License-Identifier: Apache-2.0
/**
 * Replicas are replaced one by one under load, behind a balancer as simple as they come: it asks
 * `/readyz`, keeps connections, and gives each request to one that is ready, once.
 */
import { Agent, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { FakeKeptDriver } from "#testing/fake-kept-driver.ts";
import { callerOf, type Installation, startInstallation } from "#testing/installation.ts";

const ASK = {
  ...{ name: "w", artifactsVersion: "0.1.0", publicContainerName: "api", publicContainerPort: 80, gpus: 0 },
  ...{ dockerCompose: "services:\n  api:\n    image: caddy:2", memory: 512, cpus: 1, disk: 5 },
};

async function startBalancer() {
  const replicas = new Map<string, { ready: boolean; agent: Agent }>();
  let closed = false;
  const watching = (async () => {
    while (!closed) {
      for (const [url, replica] of replicas) {
        replica.ready = await fetch(`${url}/readyz`).then(
          ({ ok }) => ok,
          () => false,
        );
      }
      await sleep(20);
    }
  })();
  let turn = 0;
  const server = createServer((asked, answer) => {
    const ready = [...replicas].filter(([, replica]) => replica.ready);
    if (ready.length === 0) return void answer.writeHead(502).end();
    const [url, { agent }] = ready[turn++ % ready.length]!;
    const onward = request(
      url + asked.url,
      { method: asked.method!, headers: asked.headers, agent },
      (got) => {
        const { connection: _, ...headers } = got.headers;
        answer.writeHead(got.statusCode!, headers);
        got.pipe(answer);
      },
    );
    onward.on("error", () => answer.headersSent || answer.writeHead(502).end());
    asked.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    add: (url: string) => void replicas.set(url, { ready: false, agent: new Agent({ keepAlive: true }) }),
    remove: (url: string) => {
      replicas.get(url)?.agent.destroy();
      replicas.delete(url);
    },
    readyCount: () => [...replicas.values()].filter(({ ready }) => ready).length,
    close: async () => {
      closed = true;
      await watching;
      server.closeAllConnections();
      server.close();
    },
  };
}

it("replicas are replaced one by one and no request fails", async () => {
  const driver = new FakeKeptDriver();
  const config = { http: { drainMs: 400 }, workloads: { requestsPerMinute: null } };
  const first = await startInstallation({ config, kept: driver, replica: "one" });
  const balancer = await startBalancer();
  const others: Installation[] = [];
  try {
    balancer.add(first.url);
    const admin = callerOf(first.url, first.adminKey);
    const { apiToken } = (await admin("POST", "/api/v1/accounts/create", { name: "u", credits: 1e6 })).body;
    await expect.poll(balancer.readyCount).toBe(1);
    const owner = callerOf(balancer.url, apiToken);
    let over = false;
    const failed: unknown[] = [];
    let answered = 0;
    const readers = Array.from({ length: 8 }, async () => {
      while (!over) {
        const { status, body } = await owner("GET", "/api/v1/workloads/list");
        answered++;
        if (status !== 200) failed.push([status, body]);
      }
    });
    await sleep(300);
    // Replaced: told to stop under load while another takes its place.
    const next = await startInstallation({
      ...{ config, replica: "two", database: first.connection, kept: driver },
    });
    others.push(next);
    balancer.add(next.url);
    await expect.poll(balancer.readyCount).toBe(2);
    expect((await callerOf(balancer.url, apiToken)("POST", "/api/v1/workloads/create", ASK)).status).toBe(
      201,
    );
    const before = answered;
    await first.control.close();
    balancer.remove(first.url);
    await sleep(200);
    over = true;
    await Promise.all(readers);
    expect(failed).toEqual([]);
    expect(answered).toBeGreaterThan(before);
    expect(before).toBeGreaterThan(50);
  } finally {
    await balancer.close();
    for (const one of others) await one[Symbol.asyncDispose]();
    await first[Symbol.asyncDispose]();
  }
});
