// SPDX-License-Identifier: Apache-2.0
/** What a stranger with slow connections, or with many, can take: as configured, only sooner. */
import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import { describe, expect, test } from "vitest";
import { LIMITS } from "./limits.ts";
import { ask, DOMAIN, dial, ingress, machine, rawMachine, route, textOf } from "./testing.ts";

const GET = `GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\n`;

test("every limit has an end", () => {
  for (const [name, value] of Object.entries(LIMITS)) {
    expect([name, Number.isSafeInteger(value) && value > 0]).toEqual([name, true]);
    if (name.endsWith("Ms")) expect(value).toBeLessThanOrEqual(3_600_000);
  }
});

describe.each(["http", "https"] as const)("over %s", (scheme) => {
  test.each([
    ["says nothing", ""],
    ["sends half a head", `${GET}X-Slow: `],
  ])("a client that %s is dropped", async (_what, half) => {
    const gate = await ingress({ limits: { headersMs: 300 } });
    gate.setRoutes([route(null)]);
    const socket = await dial(gate, scheme);
    socket.write(half);
    const began = performance.now();
    expect(await textOf(socket)).toMatch(/^(HTTP\/1\.1 408 [\s\S]*)?$/);
    expect(performance.now() - began).toBeLessThan(9_000);
  });

  test("a client that dribbles its head is dropped all the same", async () => {
    const gate = await ingress({ limits: { headersMs: 500 } });
    gate.setRoutes([route(null)]);
    const socket = await dial(gate, scheme);
    socket.write(GET);
    const dribble = setInterval(() => socket.write("X-A: b\r\n"), 50);
    const began = performance.now();
    await textOf(socket);
    clearInterval(dribble);
    expect(performance.now() - began).toBeLessThan(9_000);
  });

  test("a client that owes its body is dropped, and the machine with it", async () => {
    const gate = await ingress({ limits: { clientStallMs: 300 } });
    const ended = Promise.withResolvers<void>();
    gate.setRoutes([route(await machine((asked) => asked.resume().on("error", () => ended.resolve())))]);
    const socket = await dial(gate, scheme);
    socket.write(`POST / HTTP/1.1\r\nHost: ${DOMAIN}\r\nContent-Length: 100\r\n\r\nhalf`);
    expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 408 /);
    await ended.promise;
  });

  test("a client that does not read its answer is dropped, and the machine with it", async () => {
    const gate = await ingress({ limits: { clientStallMs: 300 } });
    const closed = Promise.withResolvers<void>();
    const served = await machine((_asked, response) => {
      response.on("close", closed.resolve);
      response.write(Buffer.alloc(32 * 1024 * 1024));
    });
    gate.setRoutes([route(served)]);
    const socket = await dial(gate, scheme);
    socket.pause();
    socket.write(`${GET}\r\n`);
    await closed.promise;
  });

  test("a machine that takes its time is waited for, longer than a client", async () => {
    const gate = await ingress({ limits: { clientStallMs: 150, machineSilenceMs: 2_000 } });
    const served = await machine((_asked, response) => void setTimeout(() => response.end("done"), 800));
    gate.setRoutes([route(served)]);
    expect((await ask(gate, scheme)).body).toBe("done");
    expect((await ask(gate, scheme, { method: "POST", body: "x" })).body).toBe("done");
  });

  test("a machine that never answers is 504", async () => {
    const gate = await ingress({ limits: { clientStallMs: 150, machineSilenceMs: 500 } });
    gate.setRoutes([route(await rawMachine((socket) => socket.resume()))]);
    for (const method of ["GET", "POST"])
      expect((await ask(gate, scheme, { method, body: "" })).status).toBe(504);
  });
});

test("an upload that moves is not cut, however long it takes", async () => {
  const gate = await ingress({ limits: { clientStallMs: 400, headersMs: 300 } });
  gate.setRoutes([route(await machine((asked, response) => asked.pipe(response)))]);
  const socket = await dial(gate, "http");
  socket.write(`POST / HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: close\r\nContent-Length: 10\r\n\r\n`);
  const text = textOf(socket);
  for (let at = 0; at < 10; at++) {
    await new Promise((resolve) => setTimeout(resolve, 150));
    socket.write(String(at));
  }
  expect(await text).toMatch(/^HTTP\/1\.1 200 [\s\S]*9/);
});

test("a client that never agrees on TLS is dropped", async () => {
  const gate = await ingress({ limits: { handshakeMs: 300 } });
  const socket = await dial({ ...gate, httpPort: gate.httpsPort }, "http");
  const began = performance.now();
  expect(await textOf(socket)).toBe("");
  expect(performance.now() - began).toBeLessThan(9_000);
});

test("a head over the limit is 431", async () => {
  const gate = await ingress();
  gate.setRoutes([route(null)]);
  const socket = await dial(gate, "http");
  socket.write(`${GET}X-Large: ${"x".repeat(LIMITS.headersBytesMax)}\r\n\r\n`);
  expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 431 /);
});

test("many small fields are all passed on, none silently dropped", async () => {
  const gate = await ingress();
  const served = await machine(
    (asked, response) => response.end(String(asked.rawHeaders.length / 2)),
    (server) => {
      server.maxHeadersCount = 0;
    },
  );
  gate.setRoutes([route(served)]);
  const headers = Object.fromEntries(Array.from({ length: 1300 }, (_, at) => [`x-${at}`, "1"]));
  expect(Number((await ask(gate, "http", { headers })).body)).toBeGreaterThanOrEqual(1300);
});

/** 0: no answer. */
const statusOf = (...asked: Parameters<typeof ask>): Promise<number> =>
  ask(...asked).then(
    ({ status }) => status,
    () => 0,
  );

describe.each(["http", "https"] as const)("connections over %s", (scheme) => {
  test("one address has no more than its share; another still gets through", async () => {
    const gate = await ingress({ limits: { connectionsPerAddressMax: 3 } });
    gate.setRoutes([route(null)]);
    const held = [];
    for (let count = 0; count < 3; count++) held.push(await dial(gate, scheme));
    await expect(ask(gate, scheme)).rejects.toThrow();
    const elsewhere = await dial(gate, "http", "127.0.0.2");
    elsewhere.write(`${GET}Connection: close\r\n\r\n`);
    expect(await textOf(elsewhere)).toMatch(/^HTTP\/1\.1 503 /);
    held[0]!.destroy();
    await expect.poll(() => statusOf(gate, scheme)).toBe(503);
  });

  test("all addresses together have no more than there is", async () => {
    const gate = await ingress({ limits: { connectionsMax: 3 } });
    gate.setRoutes([route(null)]);
    const held = [];
    for (let count = 0; count < 3; count++) held.push(await dial(gate, scheme));
    await expect(ask(gate, scheme)).rejects.toThrow();
    held[0]!.destroy();
    await expect.poll(() => statusOf(gate, scheme)).toBe(503);
  });
});

test("a crowd at one route leaves the others open", async () => {
  const gate = await ingress({ limits: { exchangesPerRouteMax: 2 } });
  const answers: (() => void)[] = [];
  const crowded = await machine((_asked, response) => answers.push(() => response.end("done")));
  const other = await machine((_asked, response) => response.end("other"));
  gate.setRoutes([route(crowded), route(other, { domain: "b.workloads.test" })]);
  const first = [ask(gate, "http"), ask(gate, "http")];
  await expect.poll(() => answers.length).toBe(2);
  const refused = await ask(gate, "http");
  expect([refused.status, refused.headers["retry-after"]]).toEqual([503, "5"]);
  expect((await ask(gate, "http", { host: "b.workloads.test" })).body).toBe("other");
  for (const answer of answers.splice(0)) answer();
  expect((await Promise.all(first)).map(({ body }) => body)).toEqual(["done", "done"]);
  const again = ask(gate, "http");
  await expect.poll(() => answers.length).toBe(1);
  answers[0]!();
  expect((await again).body).toBe("done");
});

test("a client may not ask for one TLS 1.2 handshake after another", async () => {
  const gate = await ingress();
  gate.setRoutes([route(null)]);
  const socket = connectTls({
    ...{ host: "127.0.0.1", port: gate.httpsPort, ca: gate.caPem, servername: DOMAIN, maxVersion: "TLSv1.2" },
  });
  await once(socket, "secureConnect");
  const refused = await new Promise<Error | null>((resolve) => {
    socket.on("error", resolve);
    socket.renegotiate({}, resolve);
  });
  expect(refused).toBeInstanceOf(Error);
  socket.destroy();
});

test("close lets what is under way finish, takes nothing new, and then ends everything", async () => {
  const gate = await ingress({ limits: { closeMs: 5_000 } });
  const answer = Promise.withResolvers<() => void>();
  gate.setRoutes([
    route(await machine((_asked, response) => answer.resolve(() => response.end("finished")))),
  ]);
  const idle = await dial(gate, "https");
  const underWay = ask(gate, "http");
  const finish = await answer.promise;
  const closed = gate.close();
  await expect(ask(gate, "http")).rejects.toThrow(/ECONNREFUSED/);
  finish();
  expect((await underWay).body).toBe("finished");
  await closed;
  await textOf(idle);
});

test("close does not wait for what does not end", async () => {
  const gate = await ingress({ limits: { closeMs: 200 } });
  gate.setRoutes([route(await rawMachine((socket) => socket.resume()))]);
  const refused = expect(ask(gate, "http")).rejects.toThrow();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const began = performance.now();
  await gate.close();
  expect(performance.now() - began).toBeLessThan(9_000);
  await refused;
});
