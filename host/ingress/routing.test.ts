// SPDX-License-Identifier: Apache-2.0

import { request } from "node:https";
import { describe, expect, test } from "vitest";
import { answerTo, ask, DOMAIN, dial, ingress, machine, route, textOf } from "./testing.ts";

const OTHER = "b.workloads.test";

async function twoMachines() {
  const a = await machine((asked, response) => response.end(`a ${asked.url}`));
  const b = await machine((asked, response) => response.end(`b ${asked.url}`));
  const gate = await ingress();
  gate.setRoutes([route(a), route(b, { domain: OTHER, machineId: "mach_b" })]);
  return gate;
}

describe.each(["http", "https"] as const)("over %s", (scheme) => {
  test("each name leads to its machine, in any case, with a dot or a port", async () => {
    const gate = await twoMachines();
    for (const host of [DOMAIN, `${DOMAIN}.`, `${DOMAIN}:8443`, `${DOMAIN}.:1`, "A.Workloads.TEST"])
      expect(await ask(gate, scheme, { host, serverName: DOMAIN, path: "/x?y=1" })).toMatchObject({
        status: 200,
        body: "a /x?y=1",
      });
    expect((await ask(gate, scheme, { host: OTHER })).body).toBe("b /");
  });

  test("a stopped machine answers 503 and when to come back", async () => {
    const gate = await ingress();
    gate.setRoutes([route(null)]);
    const { status, headers } = await ask(gate, scheme);
    expect(status).toBe(503);
    expect(Number(headers["retry-after"])).toBeGreaterThan(0);
  });

  test("a machine that takes no connection is 502, and says nothing of where it is", async () => {
    const gone = await machine(() => {});
    gone.server.close();
    const gate = await ingress();
    gate.setRoutes([route(gone)]);
    for (const method of ["GET", "POST"]) {
      const { status, body } = await ask(gate, scheme, { method });
      expect(status).toBe(502);
      expect(body).not.toMatch(/127|mach_|ECONN|[0-9]{4}/);
    }
    expect(gate.logged.filter(({ event }) => event === "ingress.machine-unreachable")).toHaveLength(1);
  });

  test("domain control and the attester are not the workload's, however the path is spelt", async () => {
    const gate = await twoMachines();
    for (const path of [
      ...["/nilcc", "/nilcc/api/v2/report?nonce=00", "//nilcc/x", "/%6eilcc/x", "/%256eilcc/x", "/./nilcc/x"],
      ...["/a/../nilcc/x", "/%2e%2e/nilcc/x", "/\\nilcc/x", "/nilcc;a=b/x", "/%2fnilcc/x", "/nilcc%2fx"],
      ...["/nilcc/../x", "/;a/nilcc", "/nil%63%63?x"],
    ]) {
      const { body } = await ask(gate, scheme, { path });
      expect([path, body.split(" at ")[0]]).toEqual([path, `attester of ${DOMAIN}`]);
    }
    expect((await ask(gate, scheme, { path: "//%6eilcc/./api/v2/report?nonce=0a" })).body).toMatch(
      / at \/nilcc\/api\/v2\/report\?nonce=0a$/,
    );
    for (const path of ["/.well-known/acme-challenge/t", "//.well-known/./acme%2dchallenge/t"])
      expect((await ask(gate, scheme, { path })).status).toBe(404);
    for (const path of ["/nilccx", "/x/nilcc", "/?/nilcc", "/.well-known/other", "/%zz/nilcc", "/a%2Fb"])
      expect((await ask(gate, scheme, { path })).body).toBe(`a ${path}`);
  });

  test("the attester answers for a stopped machine too, and its fault is not the client's wait", async () => {
    const gate = await ingress({
      attester: async ({ url }) => {
        if (url === "/nilcc/late") throw new Error("secret");
        return { status: 200, contentType: "text/plain", body: "report" };
      },
    });
    gate.setRoutes([route(null)]);
    expect((await ask(gate, scheme, { path: "/nilcc/health" })).body).toBe("report");
    const failed = await ask(gate, scheme, { path: "/nilcc/late" });
    expect(failed.status).toBe(500);
    expect(failed.body).not.toContain("secret");
  });
});

test("an unknown name is one and the same 404 in plain text or JSON", async () => {
  const gate = await twoMachines();
  for (const host of ["c.workloads.test", "127.0.0.1", "[::1]:80", "workloads.test", "x.a.workloads.test"]) {
    const answer = await ask(gate, "http", { host });
    expect([host, answer.status, answer.body]).toEqual([host, 404, "Nothing is served under this name.\n"]);
    expect(answer.headers["content-type"]).toMatch(/^text\/plain/);
  }
  const json = await ask(gate, "http", { host: "c.test", headers: { accept: "application/json" } });
  expect(JSON.parse(json.body)).toEqual({
    error: "unknown-host",
    status: 404,
    message: "Nothing is served under this name.",
  });
});

test("over TLS the Host must be the name the connection was made for", async () => {
  const gate = await twoMachines();
  expect((await ask(gate, "https", { host: OTHER, serverName: DOMAIN })).status).toBe(421);
  expect((await ask(gate, "https", { host: "c.workloads.test", serverName: DOMAIN })).status).toBe(421);
});

test("an absolute request target is taken when its authority is the Host's, and refused otherwise", async () => {
  const gate = await twoMachines();
  const own = await dial(gate, "http");
  own.write(`GET http://${DOMAIN}/p?q HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: close\r\n\r\n`);
  expect(await textOf(own)).toMatch(/^HTTP\/1\.1 200 [\s\S]*a \/p\?q/);
  const other = await dial(gate, "http");
  other.write(`GET http://${OTHER}/ HTTP/1.1\r\nHost: ${DOMAIN}\r\n\r\n`);
  expect(await textOf(other)).toMatch(/^HTTP\/1\.1 400 /);
});

test("CONNECT is refused: we are nobody's way to elsewhere", async () => {
  const gate = await twoMachines();
  const socket = await dial(gate, "http");
  socket.write(`CONNECT ${DOMAIN}:443 HTTP/1.1\r\nHost: ${DOMAIN}:443\r\n\r\n`);
  expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 405 /);
});

test("a bad table is refused whole, and the one before stays", async () => {
  const gate = await twoMachines();
  for (const bad of [
    [route(null), route(null)],
    [route(null, { domain: "Upper.test" })],
    [route(null, { domain: "a..b" })],
  ])
    expect(() => gate.setRoutes(bad)).toThrow();
  expect((await ask(gate, "http")).body).toBe("a /");
});

test("a route that was taken away is gone for a connection that stands", async () => {
  const gate = await twoMachines();
  const socket = await dial(gate, "https");
  const outgoing = () =>
    answerTo(
      request({
        createConnection: () => socket,
        headers: { host: DOMAIN, connection: "keep-alive" },
      }).end() as never,
    );
  expect((await outgoing()).status).toBe(200);
  gate.setRoutes([]);
  expect((await outgoing()).status).toBe(404);
});

test("a name that holds keys is passed on over HTTPS only, and asked in clear it is refused unasked", async () => {
  let asked = 0;
  const api = await machine((_asked, response) => {
    asked++;
    response.end("api");
  });
  const gate = await ingress();
  gate.setRoutes([route(api, { secureOnly: true })]);
  expect((await ask(gate, "https")).body).toBe("api");
  expect((await ask(gate, "http")).status).toBe(403);
  expect(asked).toBe(1);
});

test("what is shown to control is shown under its name alone, and a client's own is dropped", async () => {
  const shown: Record<string, unknown>[] = [];
  const listener = await machine((asked, response) => {
    shown.push(asked.headers);
    response.end();
  });
  const gate = await ingress();
  const forged = {
    "x-casemate-proof": "forged",
    X_Casemate_Proof: "forged too",
    "x-forwarded-for": "198.51.100.9",
  };
  for (const proof of [{}, { proof: "ours" }]) {
    gate.setRoutes([route(listener, proof)]);
    await ask(gate, "https", { headers: forged });
  }
  expect(shown.map((headers) => headers["x-casemate-proof"])).toEqual([undefined, "ours"]);
  expect(JSON.stringify(shown)).not.toContain("forged");
  expect(shown.map((headers) => headers["x-forwarded-for"])).toEqual(["127.0.0.1", "127.0.0.1"]);
});
