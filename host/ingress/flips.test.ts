// SPDX-License-Identifier: Apache-2.0
/** Routes that change under load: no request may be the price. */
import { type IncomingMessage, Agent as PlainAgent, request } from "node:http";
import { request as requestTls, Agent as TlsAgent } from "node:https";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { answerTo, ask, DOMAIN, deafMachine, ingress, machine, rawMachine, route } from "./testing.ts";

const FLIPS = 50;
const CLIENTS = 6;

test("no request fails while a route flips between two machines 50 times", async () => {
  const gate = await ingress();
  const machines = await Promise.all(
    ["a", "b"].map((name) =>
      machine(async (asked, response) => {
        let bytes = 0;
        for await (const chunk of asked) bytes += (chunk as Buffer).length;
        // Some answers are under way when the route changes.
        response.write(`${name} ${bytes} `);
        await delay(Math.random() * 10);
        response.end("whole");
      }),
    ),
  );
  const routes = machines.map((each, at) => route(each, { machineId: `mach_${at}` }));
  gate.setRoutes([routes[0]!]);

  const bodies: Record<string, number> = {};
  const agents = {
    http: new PlainAgent({ keepAlive: true }),
    https: new TlsAgent({ keepAlive: true, ca: gate.caPem }),
  };
  let flipping = true;
  const client = async (at: number) => {
    const https = at % 2 === 0;
    for (let times = 0; flipping; times++) {
      const post = times % 3 === 0;
      const options = {
        ...{
          host: "127.0.0.1",
          method: post ? "POST" : "GET",
          headers: { host: DOMAIN, connection: "keep-alive" },
        },
      };
      const outgoing = https
        ? requestTls({ ...options, agent: agents.https, port: gate.httpsPort, servername: DOMAIN })
        : request({ ...options, agent: agents.http, port: gate.httpPort });
      const answer = answerTo(outgoing);
      outgoing.end(post ? "body" : undefined);
      const { status, body } = await answer;
      const key = `${status} ${body}`;
      bodies[key] = (bodies[key] ?? 0) + 1;
    }
  };
  const clients = Promise.all(Array.from({ length: CLIENTS }, (_, at) => client(at)));
  for (let flip = 1; flip <= FLIPS; flip++) {
    await delay(20);
    gate.setRoutes([routes[flip % 2]!]);
  }
  flipping = false;
  await clients;
  for (const agent of Object.values(agents)) agent.destroy();
  expect(Object.keys(bodies).sort()).toEqual([
    "200 a 0 whole",
    "200 a 4 whole",
    "200 b 0 whole",
    "200 b 4 whole",
  ]);
  expect(Object.values(bodies).reduce((sum, count) => sum + count)).toBeGreaterThan(FLIPS * 2);
});

test("what is under way ends where it began, and the next goes to the new machine", async () => {
  const gate = await ingress();
  const finish = Promise.withResolvers<() => void>();
  const old = await machine((_asked, response) => {
    response.write("old ");
    finish.resolve(() => response.end("to the end"));
  });
  const next = await machine((_asked, response) => response.end("new"));
  gate.setRoutes([route(old)]);
  const underWay = ask(gate, "http");
  const end = await finish.promise;
  gate.setRoutes([route(next, { machineId: "mach_b" })]);
  expect((await ask(gate, "http")).body).toBe("new");
  end();
  expect((await underWay).body).toBe("old to the end");
});

test("a request that its machine does not take goes to where the route leads by then, with its body", async () => {
  const gate = await ingress({ limits: { connectMs: 400 } });
  const deaf = await deafMachine();
  const next = await machine(async (asked, response) => {
    let body = "";
    for await (const chunk of asked) body += String(chunk);
    response.end(`new ${body}`);
  });
  for (const [method, body] of [
    ["GET", ""],
    ["POST", "body"],
  ] as const) {
    gate.setRoutes([route(deaf)]);
    const answer = ask(gate, "http", { method, body });
    await delay(150);
    gate.setRoutes([route(next, { machineId: "mach_b" })]);
    expect(await answer).toMatchObject({ status: 200, body: `new ${body}` });
  }
  gate.setRoutes([route(deaf)]);
  const began = performance.now();
  expect((await ask(gate, "http")).status).toBe(502);
  expect(performance.now() - began).toBeLessThan(9_000);
});

test("an idle connection to a machine is let go with its route, and never serves another machine", async () => {
  const gate = await ingress({ limits: { poolIdleMs: 60_000 } });
  const closed = Promise.withResolvers<void>();
  let connections = 0;
  const served = await rawMachine((socket) => {
    connections++;
    socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    socket.on("end", () => closed.resolve());
  });
  gate.setRoutes([route(served)]);
  await ask(gate, "http");
  // The same address, given to somebody else's machine.
  gate.setRoutes([route(served, { machineId: "mach_b" })]);
  await closed.promise;
  await ask(gate, "http");
  expect(connections).toBe(2);
});

test("a connection in use when its route went is closed after its answer, not kept", async () => {
  const gate = await ingress({ limits: { poolIdleMs: 60_000 } });
  const asked = Promise.withResolvers<() => void>();
  const closed = Promise.withResolvers<void>();
  const served = await machine((request_: IncomingMessage, response) => {
    request_.socket.on("close", closed.resolve);
    asked.resolve(() => response.end("done"));
  });
  served.server.keepAliveTimeout = 60_000;
  gate.setRoutes([route(served)]);
  const answer = ask(gate, "http");
  const finish = await asked.promise;
  gate.setRoutes([]);
  finish();
  expect((await answer).body).toBe("done");
  await closed.promise;
});
