// SPDX-License-Identifier: Apache-2.0
/**
 * Replicas are replaced one by one under load, behind a balancer as simple as they come: it asks
 * `/readyz`, keeps connections, and gives each request to one that is ready, once. It looks at each replica
 * by itself, since one that is slow to say how it is must not keep it from seeing that another stops; and
 * while none is ready it waits for one.
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

/** Ten seconds. */
const WAITS_MAX = 500;
/** Until a stopping replica takes nothing more: long enough to be seen to stop where all is slow. */
const DRAIN_MS = 3_000;

async function startBalancer() {
  const replicas = new Map<string, { ready: boolean; agent: Agent }>();
  let closed = false;
  const watching: Promise<void>[] = [];
  const watch = async (url: string) => {
    for (let replica = replicas.get(url); replica !== undefined && !closed; replica = replicas.get(url)) {
      replica.ready = await fetch(`${url}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      );
      await sleep(20);
    }
  };
  const ready = () => [...replicas].filter(([, replica]) => replica.ready);
  let turn = 0;
  const server = createServer(async (asked, answer) => {
    for (let waits = 0; ready().length === 0 && waits < WAITS_MAX; waits++) await sleep(20);
    const found = ready();
    if (found.length === 0) return void answer.writeHead(502).end();
    const [url, { agent }] = found[turn++ % found.length]!;
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
    add: (url: string) => {
      replicas.set(url, { ready: false, agent: new Agent({ keepAlive: true }) });
      watching.push(watch(url));
    },
    remove: (url: string) => {
      replicas.get(url)?.agent.destroy();
      replicas.delete(url);
    },
    readyCount: () => ready().length,
    close: async () => {
      closed = true;
      await Promise.all(watching);
      server.closeAllConnections();
      server.close();
    },
  };
}

it("replicas are replaced one by one and no request fails", async () => {
  const driver = new FakeKeptDriver();
  const config = { http: { drainMs: DRAIN_MS }, workloads: { requestsPerMinute: null } };
  const first = await startInstallation({ config, kept: driver, replica: "one" });
  const balancer = await startBalancer();
  const others: Installation[] = [];
  let over = false;
  try {
    balancer.add(first.url);
    const admin = callerOf(first.url, first.adminKey);
    const { apiToken } = (await admin("POST", "/api/v1/accounts/create", { name: "u", credits: 1e6 })).body;
    await expect.poll(balancer.readyCount).toBe(1);
    const owner = callerOf(balancer.url, apiToken);
    const failed: unknown[] = [];
    let answered = 0;
    const readers = Array.from({ length: 8 }, async () => {
      while (!over) {
        const { status, body } = await owner("GET", "/api/v1/workloads/list");
        answered++;
        if (status !== 200) failed.push([status, body]);
      }
    });
    await expect.poll(() => answered).toBeGreaterThan(50);
    // Replaced: told to stop under load while another takes its place.
    const next = await startInstallation({
      // Nobody replaces this one.
      config: { ...config, http: { drainMs: 0 } },
      ...{ replica: "two", database: first.connection, kept: driver },
    });
    others.push(next);
    balancer.add(next.url);
    await expect.poll(balancer.readyCount).toBe(2);
    expect((await callerOf(balancer.url, apiToken)("POST", "/api/v1/workloads/create", ASK)).status).toBe(
      201,
    );
    await first.control.close();
    balancer.remove(first.url);
    const before = answered;
    await expect.poll(() => answered).toBeGreaterThan(before + 50);
    over = true;
    await Promise.all(readers);
    expect(failed).toEqual([]);
  } finally {
    over = true;
    await balancer.close();
    for (const one of others) await one[Symbol.asyncDispose]();
    await first[Symbol.asyncDispose]();
  }
});
