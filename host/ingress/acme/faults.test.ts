// SPDX-License-Identifier: Apache-2.0
/** Directories that are away, refuse, hang or lie: names are served all the same, and the directory is left in peace. */
import type { RequestListener } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { ask, DOMAIN, ingress, machine, route } from "../testing.ts";
import type { AcmeOptions } from "./certificates.ts";
import { directory, TIMING } from "./testing.ts";

const MINUTE_MS = 60_000;

/** A gate with one name, and what its directory was asked so far. */
async function gateWith(answer: RequestListener, changes: Partial<AcmeOptions> = {}, domains = [DOMAIN]) {
  const calls: string[] = [];
  const at = await directory((asked, response) => {
    calls.push(`${asked.method} ${asked.url}`);
    answer(asked, response);
  });
  let now = Date.now();
  const acme: AcmeOptions = {
    ...{ directoryUrl: at.directoryUrl, ca: at.ca, email: null, challenge: "http-01" },
    publish: async () => {},
    ...changes,
    timing: { ...TIMING, requestMs: 300, retryFirstMs: MINUTE_MS, ...changes.timing },
  };
  const gate = await ingress({ acme, now: () => new Date(now) });
  const target = await machine((_asked, response) => response.end("hello"));
  gate.setRoutes(domains.map((domain) => route(target, { domain })));
  const failures = () =>
    gate.logged.flatMap(({ event, facts }) => (event === "ingress.acme-failed" ? [facts] : []));
  const failed = (times: number) => expect.poll(() => failures().length, { timeout: 30_000 }).toBe(times);
  return { gate, calls, acme, failures, failed, at, wait: (ms: number) => (now += ms), now: () => now };
}

const problem =
  (status: number, type: string, headers: Record<string, string> = {}): RequestListener =>
  (_asked, response) => {
    response.writeHead(status, { "content-type": "application/problem+json", ...headers });
    response.end(
      JSON.stringify({ type: `urn:ietf:params:acme:error:${type}`, detail: "in words\nof its own" }),
    );
  };

test.each([
  ["is full of errors", problem(500, "serverInternal")],
  ["refuses", problem(403, "unauthorized")],
  ["hangs", () => {}],
  ["sends rubbish", (_asked, response) => response.end("<html>")],
  ["sends us elsewhere", (_asked, response) => response.writeHead(302, { location: "/other" }).end("{}")],
] as [string, RequestListener][])(
  "a directory that %s costs a name nothing, and is asked again later",
  async (_what, answer) => {
    const at = await gateWith(answer);
    expect((await ask(at.gate, "https")).body).toBe("hello");
    await at.failed(1);
    const calls = at.calls.length;
    expect(calls).toBeLessThanOrEqual(1);
    await sleep(300);
    expect(at.calls).toHaveLength(calls);
    expect((await ask(at.gate, "https")).body).toBe("hello");
    at.wait(2 * MINUTE_MS);
    await at.failed(2);
    // Longer than before.
    const [first, second] = at.failures().map(({ retryAt }) => Date.parse(retryAt as string));
    expect(second! - at.now()).toBeGreaterThanOrEqual(MINUTE_MS);
    expect(first! - (at.now() - 2 * MINUTE_MS)).toBeLessThanOrEqual(MINUTE_MS);
    expect(JSON.stringify(at.gate.logged)).not.toMatch(/PRIVATE KEY|\\n/);
  },
);

test("an answer without end is not read to its end", async () => {
  const at = await gateWith((_asked, response) => response.end(Buffer.alloc(3 * 1024 * 1024)));
  await at.failed(1);
  expect(at.failures()[0]!.error).toContain("too large");
});

test("a directory that names an address without TLS is not followed there", async () => {
  let asked = 0;
  const plain = await machine((_asked, response) => {
    asked += 1;
    response.end();
  });
  const names = { newNonce: `http://127.0.0.1:${plain.port}/`, newAccount: "x" };
  const at = await gateWith((_asked, response) => response.end(JSON.stringify(names)));
  await at.failed(1);
  expect(asked).toBe(0);
  expect(at.failures()[0]!.error).toContain("not https");
});

test("a directory that nobody answers for, or that shows another's certificate, gets no order", async () => {
  const other = await directory(() => {});
  for (const change of [{ directoryUrl: "https://localhost:1/dir" }, { ca: other.ca }, { ca: null }]) {
    const at = await gateWith(problem(500, "serverInternal"), change);
    await at.failed(1);
    expect(at.calls).toEqual([]);
    expect((await ask(at.gate, "https")).body).toBe("hello");
    await at.gate.close();
  }
});

test("a directory that is busy is left alone for as long as it says", async () => {
  const at = await gateWith(problem(429, "rateLimited", { "retry-after": "7200" }));
  await at.failed(1);
  expect(Date.parse(at.failures()[0]!.retryAt as string) - at.now()).toBeGreaterThanOrEqual(7_200_000);
  at.wait(60 * MINUTE_MS);
  await sleep(300);
  expect(at.calls).toHaveLength(1);
  at.wait(61 * MINUTE_MS);
  await at.failed(2);
});

test("a directory that is away is not asked once for each name", async () => {
  const domains = Array.from({ length: 30 }, (_, n) => `w${n}.workloads.test`);
  const at = await gateWith(problem(503, "serverInternal"), {}, domains);
  await expect.poll(() => at.failures().length).toBeGreaterThan(0);
  await sleep(500);
  expect(at.calls.length).toBeLessThanOrEqual(3);
});

test("no more than three orders are under way at once", async () => {
  const domains = Array.from({ length: 9 }, (_, n) => `w${n}.workloads.test`);
  let open = 0;
  let most = 0;
  const answer: RequestListener = async (asked, response) => {
    const base = `https://localhost:${asked.socket.localPort}`;
    response.setHeader("replay-nonce", "x");
    if (asked.url === "/dir")
      return response.end(
        JSON.stringify({ newNonce: `${base}/n`, newAccount: `${base}/a`, newOrder: `${base}/o` }),
      );
    if (asked.url === "/a") return response.writeHead(201, { location: `${base}/a/1` }).end("{}");
    if (asked.url === "/o") {
      most = Math.max(most, ++open);
      await sleep(100);
      open -= 1;
      return problem(400, "rejectedIdentifier")(asked, response);
    }
    return response.end();
  };
  // A directory that a busy computer makes late would be one that is away.
  const at = await gateWith(answer, { timing: { requestMs: 20_000 } }, domains);
  await at.failed(9);
  expect(most).toBe(3);
});

test("a wait is not forgotten with the process", async () => {
  const at = await gateWith(problem(429, "rateLimited", { "retry-after": "3600" }));
  await at.failed(1);
  await at.gate.close();
  const again = await ingress({ folder: at.gate.folder, acme: at.acme });
  again.setRoutes([route(null)]);
  await sleep(400);
  expect(at.calls).toHaveLength(1);
});

test("an order ends with the host, and with its route, also when the directory hangs", async () => {
  const at = await gateWith(() => {}, { timing: { requestMs: 60_000 } });
  await expect.poll(() => at.calls.length).toBe(1);
  at.gate.setRoutes([]);
  const began = performance.now();
  await at.gate.close();
  expect(performance.now() - began).toBeLessThan(9_000);
  expect(at.failures()).toEqual([]);
});
