// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { DOMAIN, dial, ingress, machine, rawMachine, route, textOf } from "./testing.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = createHash("sha1").update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
const ask = (more = "") =>
  `GET /ws HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n${more}\r\n`;

/** One whole text frame, masked as a client's must be. */
function masked(text: string): Buffer {
  const mask = randomBytes(4);
  const payload = Buffer.from(text).map((byte, at) => byte ^ mask[at % 4]!);
  return Buffer.concat([Buffer.from([0x81, 0x80 | payload.length]), mask, payload]);
}

/** Unmasks a short frame and sends it back as a server's. */
function echoFrames(socket: Socket): void {
  socket.on("data", (frame: Buffer) => {
    const length = frame[1]! & 0x7f;
    const payload = frame.subarray(6, 6 + length).map((byte, at) => byte ^ frame[2 + (at % 4)]!);
    socket.write(Buffer.concat([Buffer.from([0x81, length]), payload]));
  });
}

async function upTo(socket: Socket, wanted: RegExp): Promise<string> {
  let text = "";
  while (!wanted.test(text)) text += ((await once(socket, "data")) as [Buffer])[0].toString("latin1");
  return text;
}

/** A machine that agrees to a WebSocket and then does what the test says. */
function webSocketMachine(then: (socket: Socket, asked: IncomingMessage) => void) {
  return machine(
    (_asked, response) => response.writeHead(401, { "www-authenticate": "Basic" }).end("log in"),
    (server) =>
      server.on("upgrade", (asked: IncomingMessage, socket: Socket) => {
        socket.on("error", () => {});
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`,
        );
        then(socket, asked);
      }),
  );
}

describe.each(["http", "https"] as const)("over %s", (scheme) => {
  test("a WebSocket echoes", async () => {
    const gate = await ingress();
    let fields: IncomingMessage["headers"] = {};
    const served = await webSocketMachine((socket, asked) => {
      fields = asked.headers;
      echoFrames(socket);
    });
    gate.setRoutes([route(served)]);
    const socket = await dial(gate, scheme);
    socket.write(ask("X-Forwarded-For: 10.9.9.9\r\n"));
    const head = await upTo(socket, /\r\n\r\n$/);
    expect(head).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
    expect(head).toContain(`Sec-WebSocket-Accept: ${ACCEPT}`);
    for (const word of ["hello", "again"]) {
      socket.write(masked(word));
      expect(await upTo(socket, /\w{5}$/)).toBe(`\x81\x05${word}`);
    }
    expect(fields).toMatchObject({
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-proto": scheme,
      upgrade: "websocket",
    });
  });

  test("what the machine says with its 101, and after the client has ended, arrives", async () => {
    const gate = await ingress();
    const served = await webSocketMachine((socket) => {
      socket.write("at once;");
      let heard = "";
      socket.on("data", (chunk) => {
        heard += String(chunk);
      });
      socket.on("end", () => socket.end(`heard ${heard}`));
    });
    gate.setRoutes([route(served)]);
    const socket = await dial(gate, scheme);
    socket.write(ask());
    socket.write("with the head;");
    const all = textOf(socket);
    await once(socket, "data");
    socket.end("the last");
    expect(await all).toMatch(/at once;heard with the head;the last$/);
  });

  test("a machine that ends first still hears the client", async () => {
    const gate = await ingress();
    const heard = Promise.withResolvers<string>();
    const served = await rawMachine((socket) => {
      socket.once("data", async () => {
        socket.end("HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nbye");
        heard.resolve(await textOf(socket));
      });
    });
    gate.setRoutes([route(served)]);
    const socket = await dial(gate, scheme);
    socket.write(ask());
    expect(await textOf(socket)).toMatch(/bye$/);
    socket.end("still here");
    expect(await heard.promise).toBe("still here");
  });

  test("a refused upgrade is an ordinary answer", async () => {
    const gate = await ingress();
    gate.setRoutes([route(await machine((_asked, response) => response.writeHead(401).end("log in")))]);
    const socket = await dial(gate, scheme);
    socket.write(`${ask()}GET /smuggled HTTP/1.1\r\nHost: ${DOMAIN}\r\n\r\n`);
    const text = await textOf(socket);
    expect(text).toMatch(/^HTTP\/1\.1 401 [\s\S]*log in/);
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
  });

  test("16 MiB each way pass unchanged", async () => {
    const gate = await ingress();
    gate.setRoutes([route(await webSocketMachine((socket) => socket.pipe(socket)))]);
    const socket = await dial(gate, scheme);
    socket.write(ask());
    await upTo(socket, /\r\n\r\n$/);
    const bytes = randomBytes(16 * 1024 * 1024);
    const back: Buffer[] = [];
    socket.on("data", (chunk) => back.push(chunk));
    socket.end(bytes);
    await once(socket, "end");
    expect(Buffer.concat(back).equals(bytes)).toBe(true);
  });
});

test.each(["client", "machine"] as const)("an error of the %s is an error to the other end", async (end) => {
  const gate = await ingress();
  const agreed = Promise.withResolvers<Socket>();
  gate.setRoutes([route(await webSocketMachine(agreed.resolve))]);
  const client = await dial(gate, "http");
  client.write(ask());
  await upTo(client, /\r\n\r\n$/);
  const far = await agreed.promise;
  const [broken, other] = end === "client" ? [client, far] : [far, client];
  // An end that looks clean would make what was cut look whole.
  const seen = Promise.race([
    once(other, "end").then(() => "end"),
    once(other, "close").then(() => "close"),
  ]).catch((error: Error & { code: string }) => error.code);
  other.resume();
  broken.resetAndDestroy();
  expect(await seen).toBe("ECONNRESET");
});

test("a client that ended cleanly and then breaks does not leave the machine with half a tunnel", async () => {
  const gate = await ingress();
  const agreed = Promise.withResolvers<Socket>();
  gate.setRoutes([route(await webSocketMachine(agreed.resolve))]);
  const client = await dial(gate, "http");
  client.write(ask());
  await upTo(client, /\r\n\r\n$/);
  const far = await agreed.promise;
  client.end();
  await once(far.resume(), "end");
  client.resetAndDestroy();
  // Its own writes are how it can notice.
  const writing = setInterval(() => far.write("still there?"), 20);
  await new Promise((resolve) => far.once("close", resolve));
  clearInterval(writing);
});

test.each([
  [
    "another HTTP",
    `GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`,
  ],
  [
    "a request with a body",
    `GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbody`,
  ],
  [
    "two protocols",
    `GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n`,
  ],
  [
    "the attester",
    `GET /nilcc/x HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
  ],
])("an upgrade of %s is an ordinary request", async (what, head) => {
  const gate = await ingress();
  let asked: IncomingMessage["headers"] = {};
  const served = await machine((request, response) => {
    asked = request.headers;
    response.end("ordinary");
  });
  gate.setRoutes([route(served)]);
  const socket = await dial(gate, "http");
  socket.write(head);
  expect(await upTo(socket, /ordinary|attester of/)).toMatch(/^HTTP\/1\.1 200 /);
  expect(asked.upgrade).toBeUndefined();
  expect(asked["http2-settings"]).toBeUndefined();
  expect(asked.host).toBe(what === "the attester" ? undefined : DOMAIN);
});

test("a machine that agrees to another protocol than was asked for is 502", async () => {
  const gate = await ingress();
  const served = await rawMachine((socket) =>
    socket.once("data", () =>
      socket.write("HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"),
    ),
  );
  gate.setRoutes([route(served)]);
  const socket = await dial(gate, "http");
  socket.write(ask());
  expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 502 /);
});

test("a tunnel to a machine that is not there is 502, to one that is stopped 503", async () => {
  const gate = await ingress();
  const gone = await machine(() => {});
  gone.server.close();
  for (const [target, status] of [
    [gone, 502],
    [null, 503],
  ] as const) {
    gate.setRoutes([route(target)]);
    const socket = await dial(gate, "http");
    socket.write(ask());
    expect(await upTo(socket, /\r\n\r\n/)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  }
});

test("a tunnel outlives its route, a silent one does not outlive its time", async () => {
  const gate = await ingress({ limits: { clientStallMs: 100, tunnelSilenceMs: 600 } });
  gate.setRoutes([route(await webSocketMachine(echoFrames))]);
  const socket = await dial(gate, "http");
  socket.write(ask());
  await upTo(socket, /\r\n\r\n$/);
  gate.setRoutes([]);
  for (let times = 0; times < 3; times++) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    socket.write(masked("hello"));
    await upTo(socket, /hello/);
  }
  const began = performance.now();
  await textOf(socket);
  expect(performance.now() - began).toBeGreaterThan(400);
});
