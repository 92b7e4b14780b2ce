// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { answerTo, ask, DOMAIN, dial, ingress, machine, rawMachine, route, textOf } from "./testing.ts";

const digest = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

describe.each(["http", "https"] as const)("over %s", (scheme) => {
  test("the machine is told who asks by us alone", async () => {
    const gate = await ingress();
    gate.setRoutes([
      route(await machine((asked, response) => response.end(JSON.stringify(asked.rawHeaders)))),
    ]);
    const { body } = await ask(gate, scheme, {
      headers: {
        "X-Forwarded-For": "10.9.9.9",
        "x-forwarded-proto": "gopher",
        "X-Forwarded-Host": "bank.test",
        "X-Forwarded-Port": "1",
        Forwarded: "for=10.9.9.9",
        "X-Real-IP": "10.9.9.9",
        X_Forwarded_For: "10.9.9.9",
        Proxy: "http://10.9.9.9",
        Connection: "close, X-Secret-Hop, Host, X-Forwarded-For",
        "X-Secret-Hop": "1",
        "Keep-Alive": "timeout=5",
        "Proxy-Connection": "keep-alive",
        TE: "trailers, gzip",
        "X-Kept": ["one", "two"],
        Cookie: "a=b",
      },
    });
    const raw = JSON.parse(body) as string[];
    const fields = Array.from({ length: raw.length / 2 }, (_, at) => `${raw[2 * at]}: ${raw[2 * at + 1]}`);
    expect(fields.sort()).toEqual(
      [
        "Connection: keep-alive",
        "Cookie: a=b",
        "TE: trailers",
        "X-Forwarded-For: 127.0.0.1",
        `X-Forwarded-Host: ${DOMAIN}`,
        `X-Forwarded-Proto: ${scheme}`,
        "X-Kept: one",
        "X-Kept: two",
        `host: ${DOMAIN}`,
      ].sort(),
    );
  });

  test("an answer keeps its repeated fields and loses those of its connection", async () => {
    const gate = await ingress();
    const served = await rawMachine((socket) =>
      socket.end(
        "HTTP/1.1 207 Of Our Own\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n" +
          "Keep-Alive: timeout=9\r\nUpgrade: h2c\r\nX-Kept: 1\r\n\r\nuntil the end",
      ),
    );
    gate.setRoutes([route(served)]);
    const answer = await ask(gate, scheme);
    expect(answer).toMatchObject({ status: 207, body: "until the end" });
    expect(answer.headers).toMatchObject({ "set-cookie": ["a=1", "b=2"], "x-kept": "1" });
    for (const gone of ["x-hop", "upgrade"]) expect(answer.headers[gone]).toBeUndefined();
    expect(answer.headers["keep-alive"]).not.toBe("timeout=9");
  });

  test("64 MiB go up and come down unchanged, with a length and without", async () => {
    const gate = await ingress();
    const echo = await machine((asked, response) => {
      const length = asked.headers["content-length"];
      if (length !== undefined) response.setHeader("content-length", length);
      asked.pipe(response);
    });
    gate.setRoutes([route(echo)]);
    const bytes = randomBytes(64 * 1024 * 1024);
    for (const headers of [{ "content-length": String(bytes.length) }, { "transfer-encoding": "chunked" }]) {
      const socket = await dial(gate, scheme);
      const outgoing = request({
        ...{ createConnection: () => socket, method: "PUT", headers: { host: DOMAIN, ...headers } },
      });
      outgoing.end(bytes);
      const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
      const parts: Buffer[] = [];
      for await (const part of incoming) parts.push(part as Buffer);
      expect(digest(Buffer.concat(parts))).toBe(digest(bytes));
      socket.destroy();
    }
  });

  test("events arrive when they are sent, and the head before the first of them", async () => {
    const gate = await ingress();
    let say: (event: string) => void = () => {};
    const served = await machine((_asked, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      say = (event) => response.write(`data: ${event}\n\n`);
    });
    gate.setRoutes([route(served)]);
    const socket = await dial(gate, scheme);
    const outgoing = request({ createConnection: () => socket, headers: { host: DOMAIN } }).end();
    const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
    expect(incoming.headers["content-type"]).toBe("text/event-stream");
    for (const event of ["one", "two"]) {
      say(event);
      const [chunk] = (await once(incoming, "data")) as [Buffer];
      expect(String(chunk)).toBe(`data: ${event}\n\n`);
    }
  });
});

test("HEAD has the length of the body it does not have; 204 and 304 have neither", async () => {
  const gate = await ingress();
  const served = await machine((asked, response) => {
    if (asked.url === "/204" || asked.url === "/304") response.writeHead(Number(asked.url.slice(1))).end();
    else response.writeHead(200, { "content-length": "1234" }).end();
  });
  gate.setRoutes([route(served)]);
  const head = await ask(gate, "http", { method: "HEAD" });
  expect([head.status, head.headers["content-length"], head.body]).toEqual([200, "1234", ""]);
  for (const status of [204, 304]) {
    const { headers, ...answer } = await ask(gate, "http", { path: `/${status}` });
    expect([answer.status, answer.body, headers["transfer-encoding"]]).toEqual([status, "", undefined]);
  }
});

test("trailers pass both ways, but for those that give orders", async () => {
  const gate = await ingress();
  let seen: IncomingMessage["trailers"] = {};
  const served = await machine(async (asked, response) => {
    for await (const _ of asked);
    seen = asked.trailers;
    response.writeHead(200, { trailer: "x-sum" });
    response.addTrailers({ "x-sum": "42", "set-cookie": "evil=1" });
    response.end("body");
  });
  gate.setRoutes([route(served)]);
  const socket = await dial(gate, "http");
  socket.write(
    `POST / HTTP/1.1\r\nHost: ${DOMAIN}\r\nTransfer-Encoding: chunked\r\nTrailer: x-up\r\nConnection: close\r\n\r\n` +
      "3\r\nabc\r\n0\r\nx-up: 7\r\nX-Forwarded-For: 10.9.9.9\r\nAuthorization: Basic eA==\r\n\r\n",
  );
  const text = await textOf(socket);
  expect(seen).toEqual({ "x-up": "7" });
  expect(text).toMatch(/0\r\nx-sum: 42\r\n\r\n$/);
});

test("Expect: 100-continue is the machine's to answer", async () => {
  const gate = await ingress();
  const served = await machine(
    (_asked, response) => response.end(),
    (server) =>
      server.on("checkContinue", (asked: IncomingMessage, response) => {
        if (asked.url === "/no") return response.writeHead(413).end("too large");
        response.writeContinue();
        asked.pipe(response);
      }),
  );
  gate.setRoutes([route(served)]);
  for (const [path, expected] of [
    ["/yes", { continued: true, status: 200, body: "body" }],
    ["/no", { continued: false, status: 413, body: "too large" }],
    ["/nilcc/x", { continued: true, status: 200, body: `attester of ${DOMAIN} at /nilcc/x` }],
  ] as const) {
    const socket = await dial(gate, "http");
    const headers = { host: DOMAIN, expect: "100-continue", "content-length": "4", connection: "keep-alive" };
    const outgoing = request({ createConnection: () => socket, method: "POST", path, headers });
    let continued = false;
    outgoing.on("continue", () => {
      continued = true;
      outgoing.end("body");
    });
    outgoing.flushHeaders();
    const { status, body, headers: answered } = await answerTo(outgoing);
    expect({ continued, status, body }).toEqual(expected);
    // The body was never sent: the next request on this connection would be taken for it.
    expect(answered.connection).toBe(continued ? "keep-alive" : "close");
  }
});

test("early hints pass, and other 1xx do no harm", async () => {
  const gate = await ingress();
  const served = await machine((_asked, response) => {
    response.writeProcessing();
    response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
    setImmediate(() => response.end("page"));
  });
  gate.setRoutes([route(served)]);
  const outgoing = request({ port: gate.httpPort, headers: { host: DOMAIN }, agent: false });
  const hints: unknown[] = [];
  outgoing.on("information", ({ statusCode, headers }) => hints.push([statusCode, headers.link]));
  const answer = answerTo(outgoing);
  outgoing.end();
  expect((await answer).body).toBe("page");
  expect(hints).toEqual([[103, "</style.css>; rel=preload; as=style"]]);
});

test("a slow reader slows the machine down instead of filling our memory", async () => {
  const gate = await ingress();
  let wrote = 0;
  const served = await machine((_asked, response) => {
    const block = Buffer.alloc(1024 * 1024);
    const more = () => {
      if (wrote++ === 256) response.end();
      else if (response.write(block)) more();
      else response.once("drain", more);
    };
    more();
  });
  gate.setRoutes([route(served)]);
  const socket = await dial(gate, "http");
  socket.pause();
  socket.write(`GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: close\r\n\r\n`);
  await delay(700);
  const stuckAt = wrote;
  await delay(300);
  expect(wrote).toBe(stuckAt);
  expect(stuckAt).toBeLessThan(64);
  let bytes = 0;
  socket.on("data", (chunk) => {
    bytes += chunk.length;
  });
  socket.resume();
  await once(socket, "end");
  expect(bytes).toBeGreaterThan(256 * 1024 * 1024);
});

test("a kept connection that the machine closes in our hands fails no request", async () => {
  const gate = await ingress();
  let connections = 0;
  // Answers once per connection and hangs up on the second request, unread.
  const served = await rawMachine((socket) => {
    connections++;
    let asked = 0;
    socket.on("data", () => {
      if (++asked > 1) return socket.resetAndDestroy();
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
  });
  gate.setRoutes([route(served)]);
  for (const method of ["GET", "GET", "POST", "HEAD", "DELETE", "POST", "GET", "GET"])
    expect([method, (await ask(gate, "http", { method })).status]).toEqual([method, 200]);
  expect(connections).toBe(8);
});

test("idle connections to a machine are used again", async () => {
  const gate = await ingress();
  const ports = new Set<number | undefined>();
  const served = await machine((asked, response) => {
    ports.add(asked.socket.remotePort);
    response.end();
  });
  gate.setRoutes([route(served)]);
  for (let times = 0; times < 5; times++) await ask(gate, "http");
  expect(ports.size).toBe(1);
});

test("what was sent once is not sent again when the machine hangs up", async () => {
  const gate = await ingress();
  let asked = 0;
  const served = await rawMachine((socket) => {
    socket.on("data", () => {
      asked++;
      socket.resetAndDestroy();
    });
  });
  gate.setRoutes([route(served)]);
  expect((await ask(gate, "http", { method: "POST", body: "once" })).status).toBe(502);
  expect(asked).toBe(1);
});

test.each([
  ["rubbish", "what?\r\n\r\n"],
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok"],
  ["nothing", ""],
  [
    "a tunnel nobody asked for",
    "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nevil",
  ],
])("a machine that answers %s is 502", async (_what, answer) => {
  const gate = await ingress();
  gate.setRoutes([route(await rawMachine((socket) => socket.once("data", () => socket.end(answer))))]);
  const { status, body } = await ask(gate, "http");
  expect([status, body]).toEqual([502, "The workload did not answer.\n"]);
});

test("an answer that was cut is seen to be cut", async () => {
  const gate = await ingress();
  for (const head of ["Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]) {
    gate.setRoutes([
      route(
        await rawMachine((socket) => socket.once("data", () => socket.end(`HTTP/1.1 200 OK\r\n${head}`))),
      ),
    ]);
    await expect(ask(gate, "http")).rejects.toThrow(/aborted/);
  }
});

test("a client that goes away takes its request with it", async () => {
  const gate = await ingress();
  const closed = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const served = await machine((_asked, response) => {
    response.on("close", closed.resolve);
    asked.resolve();
  });
  gate.setRoutes([route(served)]);
  const socket = await dial(gate, "http");
  socket.write(`GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\n\r\n`);
  await asked.promise;
  socket.destroy();
  await closed.promise;
});

test("an answer to half an upload arrives, and the rest of the upload is not waited for", async () => {
  const gate = await ingress({ limits: { lingerMs: 200 } });
  const served = await rawMachine((socket) => {
    socket.once("data", () =>
      socket.write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n"),
    );
  });
  gate.setRoutes([route(served)]);
  const socket = await dial(gate, "http");
  socket.write(`POST / HTTP/1.1\r\nHost: ${DOMAIN}\r\nContent-Length: 1000000000\r\n\r\n`);
  const sending = setInterval(() => socket.write(Buffer.alloc(64 * 1024)), 5);
  const text = await textOf(socket);
  clearInterval(sending);
  expect(text).toMatch(/^HTTP\/1\.1 413 [\s\S]*no\n$/);
});

test("pipelined requests are answered in their order", async () => {
  const gate = await ingress();
  const served = await machine(
    (asked, response) => void setTimeout(() => response.end(asked.url), asked.url === "/1" ? 100 : 0),
  );
  gate.setRoutes([route(served)]);
  const socket = await dial(gate, "http");
  const one = (path: string, last = "") => `GET ${path} HTTP/1.1\r\nHost: ${DOMAIN}\r\n${last}\r\n`;
  socket.write(one("/1") + one("/2") + one("/3", "Connection: close\r\n"));
  const bodies = [...(await textOf(socket)).matchAll(/\r\n\r\n(\/\d)/g)].map(([, body]) => body);
  expect(bodies).toEqual(["/1", "/2", "/3"]);
});
