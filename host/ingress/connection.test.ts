// SPDX-License-Identifier: Apache-2.0
/** Kept connections to a machine, and what is written on them. */
import { expect, test } from "vitest";
import { headOf } from "./request.ts";
import { ask, DOMAIN, dial, ingress, rawMachine, route, textOf } from "./testing.ts";

const answer = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

/** Answers the n-th request of each connection with what `say` gives, and counts connections. */
async function talking(say: (request: number, connection: number) => string) {
  const seen = { connections: 0 };
  const served = await rawMachine((socket) => {
    const connection = ++seen.connections;
    let requests = 0;
    socket.on("data", () => socket.write(say(++requests, connection), "latin1"));
  });
  return Object.assign(seen, { served });
}

test("idempotent requests share a connection, from the first table on; others have one of their own", async () => {
  const machine = await talking((request) => answer(`request ${request}`));
  const gate = await ingress({ routes: [route(machine.served)] });
  expect((await ask(gate, "http")).body).toBe("request 1");
  expect((await ask(gate, "http")).body).toBe("request 2");
  expect((await ask(gate, "http", { method: "POST", body: "x" })).body).toBe("request 1");
  expect((await ask(gate, "http", { method: "PUT", body: "x" })).body).toBe("request 1");
  expect((await ask(gate, "http")).body).toBe("request 3");
  expect(machine.connections).toBe(3);
});

test("a machine that says more than it was asked is not asked again on that connection", async () => {
  const machine = await talking((_request, connection) => answer(`of ${connection}`) + answer("poison"));
  const gate = await ingress();
  gate.setRoutes([route(machine.served)]);
  for (const wanted of ["of 1", "of 2", "of 3"]) expect((await ask(gate, "http")).body).toBe(wanted);
});

test("what a machine says while nobody asks is nobody's answer", async () => {
  const gate = await ingress();
  const later = await rawMachine((socket) => {
    socket.once("data", () => {
      socket.write(answer("asked"));
      setTimeout(() => socket.write(answer("unasked")), 50);
    });
  });
  gate.setRoutes([route(later)]);
  expect((await ask(gate, "http")).body).toBe("asked");
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect((await ask(gate, "http")).body).toBe("asked");
});

test("a connection that rests too long is not used again", async () => {
  const machine = await talking((_request, connection) => answer(`of ${connection}`));
  const gate = await ingress({ limits: { poolIdleMs: 100 } });
  gate.setRoutes([route(machine.served)]);
  expect((await ask(gate, "http")).body).toBe("of 1");
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect((await ask(gate, "http")).body).toBe("of 2");
});

test("no more connections rest than are kept", async () => {
  let open = 0;
  const waiting: (() => void)[] = [];
  const served = await rawMachine((socket) => {
    open++;
    socket.on("end", () => open--);
    socket.on("data", () => waiting.push(() => socket.write(answer("ok"))));
  });
  const gate = await ingress({ limits: { poolMax: 2, poolIdleMs: 60_000 } });
  gate.setRoutes([route(served)]);
  const asked = Array.from({ length: 6 }, () => ask(gate, "http"));
  await expect.poll(() => waiting.length).toBe(6);
  for (const say of waiting) say();
  await Promise.all(asked);
  await expect.poll(() => open).toBe(2);
});

test.each([
  ["a head with bare line feeds", "HTTP/1.1 200 OK\nX: y\n\n", 502],
  ["a greeting of another protocol", "SSH-2.0-x\r\n", 502],
  [
    "both lengths",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    502,
  ],
  ["a tunnel that nobody asked for", "HTTP/1.1 101 Yes\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502],
])("%s is 502, and nothing of it reaches the client", async (_what, bytes, status) => {
  const machine = await talking(() => bytes);
  const gate = await ingress();
  gate.setRoutes([route(machine.served)]);
  const { body, ...said } = await ask(gate, "http");
  expect([said.status, body]).toEqual([status, "The workload did not answer.\n"]);
});

test("an answer that breaks in its body is cut, and does not look whole", async () => {
  const gate = await ingress();
  const served = await rawMachine((socket) =>
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
      setTimeout(() => socket.write("zz\r\n"), 50);
    }),
  );
  gate.setRoutes([route(served)]);
  const socket = await dial(gate, "http");
  socket.write(`GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\n\r\n`);
  const text = await textOf(socket);
  expect(text).toContain("abc");
  expect(text).not.toMatch(/\r\n0\r\n/);
});

test.each([
  ["a target", ["GET", "/ HTTP/1.1\r\nX: y", []]],
  ["a target with a blank", ["GET", "/a b", []]],
  ["a target beyond bytes", ["GET", "/\u0100", []]],
  ["a method", ["GET /", "/", []]],
  ["a name", ["GET", "/", ["X: y\r\nZ", "1"]]],
  ["a value", ["GET", "/", ["X", "y\r\nZ: 1"]]],
  ["a value with a bare line feed", ["GET", "/", ["X", "y\nZ: 1"]]],
  ["a value beyond bytes", ["GET", "/", ["X", "\u010d\u010a"]]],
] as [string, [string, string, string[]]][])(
  "%s cannot end a line of ours",
  (_what, [method, target, fields]) => {
    expect(headOf(method, target, fields)).toBeNull();
  },
);

test("a head is written as it was read", () => {
  expect(headOf("M-SEARCH", "/\xff?a=b", ["X-A", "b \t\xe9", "x-a", ""])).toBe(
    "M-SEARCH /\xff?a=b HTTP/1.1\r\nX-A: b \t\xe9\r\nx-a: \r\n\r\n",
  );
});

test("answers that wait for slow clients stay each their own", async () => {
  const bytes = 16 * 1024 * 1024;
  const served = await rawMachine((socket) =>
    socket.once("data", (asked) => {
      const letter = /GET \/(.)/.exec(String(asked))![1]!;
      socket.write(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${bytes}\r\n\r\n`);
      socket.end(letter.repeat(bytes));
    }),
  );
  const gate = await ingress();
  gate.setRoutes([route(served)]);
  const letters = ["a", "b", "c"];
  const sockets = [];
  for (const letter of letters) {
    const socket = await dial(gate, "http");
    socket.pause();
    socket.write(`GET /${letter} HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: close\r\n\r\n`);
    sockets.push(socket);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const texts = await Promise.all(sockets.map((socket) => textOf(socket.resume())));
  expect(texts.map((text) => text.split("\r\n\r\n")[1])).toEqual(
    letters.map((letter) => letter.repeat(bytes)),
  );
});
