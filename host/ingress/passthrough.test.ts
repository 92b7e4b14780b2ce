// SPDX-License-Identifier: Apache-2.0
/** Names whose key is inside their machine: TLS is carried, and never ended on the way. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer as createTlsHttpServer } from "node:https";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from "node:tls";
import { describe, expect, test } from "vitest";
import { newLeafKey, openAuthority } from "./authority.ts";
import { startIngressProcess } from "./process.ts";
import {
  ask,
  DOMAIN,
  dial,
  firstWords,
  type Gate,
  ingress,
  machine,
  rawMachine,
  route,
  scratch,
  textOf,
  undoLater,
} from "./testing.ts";

const OTHER = "b.workloads.test";
const inside = (target: { port: number } | null, changes = {}) =>
  route(target, { tlsInside: true, ...changes });

/** A machine that ends TLS with a key of its own, under an authority that is not the ingress's. */
async function sealedMachine(serve: (socket: TLSSocket) => void = (socket) => void socket.pipe(socket)) {
  const { authority } = await openAuthority(join(scratch(), "inside"), new Date());
  const key = await newLeafKey();
  const { certificatePem } = await authority.sign(DOMAIN, key, new Date());
  const server = createTlsServer({ key: key.keyPem, cert: certificatePem, allowHalfOpen: true }, (socket) =>
    serve(socket.on("error", () => socket.destroy())),
  );
  const open = new Set<Socket>();
  server.on("connection", (socket: Socket) => void open.add(socket.on("close", () => open.delete(socket))));
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  undoLater(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, caPem: authority.caPem, spki: key.spkiSha256, open };
}

/** A client that trusts this authority alone. */
async function reach(to: Gate, ca: string, servername = DOMAIN): Promise<TLSSocket> {
  const options = { host: "127.0.0.1", port: to.httpsPort, ca, servername, allowHalfOpen: true };
  const socket = connectTls(options);
  undoLater(() => socket.destroy());
  await once(socket, "secureConnect");
  return socket.on("error", () => {});
}

/** What comes back to these bytes, until the other end has had enough. */
async function answerTo(to: Gate, ...bytes: Buffer[]): Promise<Buffer> {
  const socket = connect({ host: "127.0.0.1", port: to.httpsPort, allowHalfOpen: true, noDelay: true });
  undoLater(() => socket.destroy());
  socket.on("error", () => {});
  const parts: Buffer[] = [];
  socket.on("data", (part) => parts.push(part));
  await once(socket, "connect");
  for (const part of bytes) {
    socket.write(part);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await new Promise((resolve) => socket.once("end", resolve).once("close", resolve));
  return Buffer.concat(parts);
}

const ALERT = Buffer.from([21, 3, 3, 0, 2, 2, 80]);

test("a client sees the machine's own key, the ingress makes none for the name, and bytes pass unchanged", async () => {
  const gate = await ingress();
  const sealed = await sealedMachine();
  gate.setRoutes([inside(sealed)]);
  const socket = await reach(gate, sealed.caPem);
  const spki = socket.getPeerX509Certificate()!.publicKey.export({ type: "spki", format: "der" });
  expect(createHash("sha256").update(spki).digest("hex")).toBe(sealed.spki);
  const bytes = randomBytes(8 * 1024 * 1024);
  const back: Buffer[] = [];
  socket.on("data", (chunk) => back.push(chunk));
  socket.end(bytes);
  await once(socket, "end");
  expect(Buffer.concat(back).equals(bytes)).toBe(true);
  expect(await gate.spkiSha256(DOMAIN)).toBeNull();
  expect(gate.logged.map(({ event }) => event)).toEqual(["ingress.authority-made"]);
});

test("HTTP goes through it, the attester's paths as well: they are the machine's", async () => {
  const gate = await ingress({ attester: () => Promise.reject(new Error("nobody is to be asked")) });
  const { authority } = await openAuthority(join(scratch(), "inside"), new Date());
  const key = await newLeafKey();
  const { certificatePem } = await authority.sign(DOMAIN, key, new Date());
  const server = createTlsHttpServer({ key: key.keyPem, cert: certificatePem }, (asked, response) =>
    response.end(`inside: ${asked.url} ${asked.headers["x-forwarded-for"] ?? "nobody"}`),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  undoLater(() => {
    server.close();
    server.closeAllConnections();
  });
  gate.setRoutes([inside(server.address() as AddressInfo)]);
  const client = { ...gate, caPem: authority.caPem };
  expect((await ask(client, "https", { path: "/x" })).body).toBe("inside: /x nobody");
  expect((await ask(client, "https", { path: "/nilcc/api/v2/report" })).body).toMatch(/^inside: \/nilcc/);
});

test("other names are served on the same port as before, byte by byte too", async () => {
  const gate = await ingress();
  const sealed = await sealedMachine();
  const served = await machine((_asked, response) => response.end("ended here"));
  gate.setRoutes([inside(sealed), route(served, { domain: OTHER })]);
  expect((await ask(gate, "https", { host: OTHER })).body).toBe("ended here");
  const slow = createTcpServer((from) => {
    const to = connect({ host: "127.0.0.1", port: gate.httpsPort, noDelay: true });
    from.on("error", () => to.destroy()).on("close", () => to.destroy());
    to.on("error", () => from.destroy());
    to.pipe(from);
    from.on("data", async (bytes) => {
      from.pause();
      for (const byte of bytes) {
        to.write(Buffer.from([byte]));
        await new Promise((resolve) => setImmediate(resolve));
      }
      from.resume();
    });
  });
  await new Promise<void>((resolve) => slow.listen(0, "127.0.0.1", resolve));
  undoLater(() => slow.close());
  const byBytes = { ...gate, httpsPort: (slow.address() as AddressInfo).port };
  expect((await ask(byBytes, "https", { host: OTHER })).body).toBe("ended here");
  const socket = await reach(byBytes, sealed.caPem);
  socket.write("hello");
  expect(String((await once(socket, "data"))[0])).toBe("hello");
});

test.each([
  ["is not up", null, []],
  ["takes no connection", { port: 1 }, ["ingress.machine-unreachable"]],
])("a machine that %s is an alert, and no certificate of anybody's", async (_what, target, logged) => {
  const gate = await ingress();
  gate.setRoutes([inside(target)]);
  expect(await answerTo(gate, await firstWords(DOMAIN))).toEqual(ALERT);
  await expect(reach(gate, gate.caPem)).rejects.toThrow(/alert internal error/);
  expect(gate.logged.map(({ event }) => event)).toEqual(["ingress.authority-made", ...logged]);
});

test("a hello that we read otherwise than the TLS server does is shown no certificate", async () => {
  const asked: string[] = [];
  const { authority } = await openAuthority(join(scratch(), "ours"), new Date());
  const key = await newLeafKey();
  const gate = await ingress({
    findLeaf: async (domain) => {
      asked.push(domain);
      const { certificatePem, notAfter } = await authority.sign(domain, key, new Date());
      return { keyPem: key.keyPem, certificatePem, notAfterMs: notAfter.getTime(), freshUntilMs: 0 };
    },
  });
  const served = await machine((_asked, response) => response.end());
  gate.setRoutes([inside(await sealedMachine()), route(served, { domain: OTHER })]);
  // Longer than we read, and not too long for the server.
  const ALPNProtocols = ["http/1.1", ...Array.from({ length: 100 }, (_, at) => `${at}`.padEnd(200, "x"))];
  const long = (servername: string) =>
    once(
      connectTls({
        ...{ host: "127.0.0.1", port: gate.httpsPort, servername, ALPNProtocols, rejectUnauthorized: false },
      }).on("secureConnect", function (this: TLSSocket) {
        this.destroy();
      }),
      "secureConnect",
    );
  await long(OTHER);
  await expect(long(DOMAIN)).rejects.toThrow(/alert/);
  expect(asked).toEqual([OTHER]);
});

test("a ticket from when we ended TLS for a name does not bring a client in", async () => {
  const gate = await ingress();
  gate.setRoutes([route(await machine((_asked, response) => response.end("before")))]);
  const first = await reach(gate, gate.caPem);
  const [session] = (await once(first, "session")) as [Buffer];
  first.destroy();
  gate.setRoutes([inside(null)]);
  const again = connectTls({
    ...{ host: "127.0.0.1", port: gate.httpsPort, servername: DOMAIN, ca: gate.caPem, session },
  });
  await expect(once(again, "secureConnect")).rejects.toThrow(/alert internal error/);
});

test("each way ends by itself, and a break of one end is a break of the other", async () => {
  const gate = await ingress();
  const far = Promise.withResolvers<Socket>();
  gate.setRoutes([inside(await rawMachine((socket) => far.resolve(socket)))]);
  const socket = connect({ host: "127.0.0.1", port: gate.httpsPort, allowHalfOpen: true });
  undoLater(() => socket.destroy());
  const hello = await firstWords(DOMAIN);
  socket.end(hello);
  const machineEnd = await far.promise;
  const heard: Buffer[] = [];
  machineEnd.on("data", (bytes) => heard.push(bytes));
  await once(machineEnd, "end");
  expect(Buffer.concat(heard)).toEqual(hello);
  machineEnd.write("still here");
  expect(String((await once(socket, "data"))[0])).toBe("still here");
  const broken = new Promise((resolve) => socket.once("error", resolve).once("close", resolve));
  machineEnd.resetAndDestroy();
  await broken;
});

describe("what a stranger may hold", () => {
  test.each([
    ["says nothing", 0],
    ["says half a hello", 40],
  ])("a client that %s is dropped", async (_what, bytes) => {
    const gate = await ingress({ limits: { handshakeMs: 300 } });
    gate.setRoutes([inside(null)]);
    expect(await answerTo(gate, (await firstWords(DOMAIN)).subarray(0, bytes))).toHaveLength(0);
  });

  test("so many connections of one address, so many of one name, and no more", async () => {
    const sealed = await sealedMachine();
    const one = await ingress({ limits: { connectionsPerAddressMax: 3 } });
    one.setRoutes([inside(sealed)]);
    for (let count = 0; count < 3; count++) await reach(one, sealed.caPem);
    await expect(reach(one, sealed.caPem)).rejects.toThrow();
    const two = await ingress({ limits: { exchangesPerRouteMax: 3 } });
    two.setRoutes([inside(sealed)]);
    const held = [];
    for (let count = 0; count < 3; count++) held.push(await reach(two, sealed.caPem));
    await expect(reach(two, sealed.caPem)).rejects.toThrow(/alert internal error/);
    held[0]!.destroy();
    await expect
      .poll(() =>
        reach(two, sealed.caPem).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
  });

  test("a machine that takes a hello and says nothing is let go of, and so are two that fell silent", async () => {
    const limits = { clientStallMs: 100, unopenedSilenceMs: 400 };
    const gate = await ingress({ limits });
    const mute = await rawMachine((socket) => socket.resume());
    gate.setRoutes([inside(mute)]);
    expect(await answerTo(gate, await firstWords(DOMAIN))).toHaveLength(0);
    const sealed = await sealedMachine();
    gate.setRoutes([inside(sealed)]);
    const socket = await reach(gate, sealed.caPem);
    await textOf(socket);
    await expect.poll(() => sealed.open.size).toBe(0);
  });

  test("a connection outlives its route; a closing ingress ends it", async () => {
    const gate = await ingress();
    const sealed = await sealedMachine();
    gate.setRoutes([inside(sealed)]);
    const socket = await reach(gate, sealed.caPem);
    gate.setRoutes([]);
    socket.write("hello");
    expect(String((await once(socket, "data"))[0])).toBe("hello");
    const ended = textOf(socket);
    await gate.close();
    await ended;
    await expect.poll(() => sealed.open.size).toBe(0);
  });
});

describe("in clear", () => {
  test.each([
    ["a page", "GET", "/a/b?c=d"],
    ["a report", "GET", "/nilcc/api/v2/report?nonce=00"],
    ["a body", "POST", "/x"],
    ["a second host in the path", "GET", "//elsewhere.test/x"],
  ])("%s is sent to HTTPS, whether the machine is up or not", async (_what, method, path) => {
    const gate = await ingress({
      attester: () => Promise.reject(new Error("nobody is to be asked")),
      prove: () => Promise.reject(new Error("nobody is to be asked")),
    });
    for (const target of [null, { port: 1 }]) {
      gate.setRoutes([inside(target)]);
      const host = `${DOMAIN}:${gate.httpPort}`;
      const answer = await ask(gate, "http", { method, path, host, ...(method === "POST" && { body: "x" }) });
      expect([answer.status, answer.body]).toEqual([308, ""]);
      expect(answer.headers.location).toBe(`https://${DOMAIN}:${gate.httpsPort}${path}`);
    }
    expect((await ask(gate, "http", { path: "/x" })).headers.location).toBe(`https://${DOMAIN}/x`);
  });

  test("a directory's question is answered by the host, for orders of its own, and the machine is not asked", async () => {
    const gate = await ingress({
      prove: async (domain, token) => (domain === DOMAIN && token === "token" ? "proof" : null),
    });
    for (const target of [null, { port: 1 }]) {
      gate.setRoutes([inside(target)]);
      const to = (token: string) => ask(gate, "http", { path: `/.well-known/acme-challenge/${token}` });
      expect(await to("token")).toMatchObject({ status: 200, body: "proof" });
      expect((await to("other")).status).toBe(404);
    }
  });

  test("a tunnel is not begun", async () => {
    const gate = await ingress();
    gate.setRoutes([inside(await rawMachine((socket) => socket.end("HTTP/1.1 101 Yes\r\n\r\n")))]);
    const socket = await dial(gate, "http");
    socket.write(
      `GET /ws HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n`,
    );
    expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 308 /);
  });
});

test("in a process of its own: the host gives no key out for such a name, and is asked nothing about it", async () => {
  const asked: string[] = [];
  const gate = await startIngressProcess({
    ...{ folder: join(scratch(), "ca"), uid: 63_916, host: "127.0.0.1", httpPort: 0, httpsPort: 0 },
    log: () => {},
    attester: ({ domain }) => {
      asked.push(domain);
      return { status: 200, contentType: "text/plain", body: "" };
    },
    limits: { closeMs: 100 },
  });
  undoLater(() => gate.close());
  const sealed = await sealedMachine();
  await gate.setRoutes([inside(sealed), route(null, { domain: OTHER })]);
  const socket = await reach(gate, sealed.caPem);
  socket.write("hello");
  expect(String((await once(socket, "data"))[0])).toBe("hello");
  expect((await ask(gate, "http", { path: "/nilcc/x" })).status).toBe(308);
  expect(await gate.spkiSha256(DOMAIN)).toBeNull();
  expect(await gate.spkiSha256(OTHER)).toMatch(/^[0-9a-f]{64}$/);
  expect(asked).toEqual([]);
});
