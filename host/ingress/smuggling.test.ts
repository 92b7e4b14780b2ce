// SPDX-License-Identifier: Apache-2.0
/**
 * Messages that two parsers read in two ways. The attacker wants the machine to see a second request, or
 * another host, where we saw one. Each shape must be refused, and nothing of it may reach the machine.
 */
import { expect, test } from "vitest";
import { DOMAIN, dial, ingress, machine, rawMachine, route, textOf } from "./testing.ts";

const HOST = `Host: ${DOMAIN}\r\n`;
const SECOND = `GET /second HTTP/1.1\r\n${HOST}\r\n`;

test.each([
  [
    "both lengths",
    `POST / HTTP/1.1\r\n${HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SECOND}`,
  ],
  [
    "both lengths, turned",
    `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n`,
  ],
  ["two lengths", `POST / HTTP/1.1\r\n${HOST}Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody`],
  ["one length twice", `POST / HTTP/1.1\r\n${HOST}Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody`],
  ["a list of lengths", `POST / HTTP/1.1\r\n${HOST}Content-Length: 4, 4\r\n\r\nbody`],
  ["a signed length", `POST / HTTP/1.1\r\n${HOST}Content-Length: +4\r\n\r\nbody`],
  ["a length that is none", `POST / HTTP/1.1\r\n${HOST}Content-Length: 0x4\r\n\r\nbody`],
  ["a coding after chunked", `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n`],
  ["a coding before chunked", `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  [
    "chunked twice",
    `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  ["an unknown coding", `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
  ["identity", `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: identity\r\nContent-Length: 4\r\n\r\nbody`],
  ["a space before a colon", `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`],
  ["a vertical tab in a coding", `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`],
  ["a folded line", `GET / HTTP/1.1\r\n${HOST}X-Fold: a\r\n b\r\n\r\n`],
  ["a folded coding", `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`],
  ["a line that begins with a space", `GET / HTTP/1.1\r\n ${HOST}\r\n`],
  ["two hosts", `GET / HTTP/1.1\r\n${HOST}Host: b.workloads.test\r\n\r\n`],
  ["one host twice", `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`],
  ["no host", "GET / HTTP/1.1\r\n\r\n"],
  ["no host in 1.0", "GET / HTTP/1.0\r\n\r\n"],
  ["bare line feeds", `GET / HTTP/1.1\n${HOST.replace("\r", "")}\n`],
  ["a bare carriage return", `GET / HTTP/1.1\r\n${HOST}X-A: b\rTransfer-Encoding: chunked\r\n\r\n`],
  ["a null in a value", `GET / HTTP/1.1\r\n${HOST}X-A: b\0c\r\n\r\n`],
  ["a name that is no token", `GET / HTTP/1.1\r\n${HOST}X{}: b\r\n\r\n`],
  ["a bad chunk size", `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n`],
  ["another version", `GET / HTTP/3.7\r\n${HOST}\r\n`],
  ["a target that is neither path nor address", `GET x@y HTTP/1.1\r\n${HOST}\r\n`],
  ["an absolute target of no HTTP", `GET file://${DOMAIN}/etc/passwd HTTP/1.1\r\n${HOST}\r\n`],
])("%s: refused, and the machine sees nothing", async (what, bytes) => {
  const gate = await ingress();
  const reached: string[] = [];
  const served = await machine((asked, response) => {
    // A bad body is only bad when it comes: its head may arrive, the whole of it must not.
    asked.on("end", () => reached.push(asked.url!)).resume();
    asked.on("error", () => {});
    if (what !== "a bad chunk size") response.end();
  });
  gate.setRoutes([route(served)]);
  const socket = await dial(gate, "http");
  socket.write(bytes, "latin1");
  const text = await textOf(socket);
  expect(text).toMatch(/^HTTP\/1\.1 (400|501) /);
  expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  expect(reached).toEqual([]);
});

test("Connection cannot take away what says where a message ends or goes", async () => {
  const gate = await ingress();
  let head = "";
  const served = await rawMachine((socket) =>
    socket.on("data", (chunk) => {
      head += chunk.toString();
      if (head.endsWith("body")) socket.end("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }),
  );
  gate.setRoutes([route(served)]);
  const socket = await dial(gate, "http");
  socket.write(
    `POST / HTTP/1.1\r\n${HOST}Connection: close, Content-Length, Host, X-A\r\nX-A: 1\r\nContent-Length: 4\r\n\r\nbody`,
  );
  expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 200 /);
  expect(head).toContain("Content-Length: 4\r\n");
  expect(head).toContain(HOST);
  expect(head).not.toContain("X-A");
});

test("a chunked body reaches the machine in our own chunks, without the client's extensions", async () => {
  const gate = await ingress();
  let seen = "";
  const served = await rawMachine((socket) =>
    socket.on("data", (chunk) => {
      seen += chunk.toString();
      if (seen.endsWith("0\r\n\r\n")) socket.end("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }),
  );
  gate.setRoutes([route(served)]);
  const socket = await dial(gate, "http");
  socket.write(
    `POST / HTTP/1.1\r\n${HOST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n4;ext="x"\r\nbody\r\n0\r\n\r\n`,
  );
  expect(await textOf(socket)).toMatch(/^HTTP\/1\.1 200 /);
  expect(seen.match(/Transfer-Encoding: chunked/gi)).toHaveLength(1);
  expect(seen).toMatch(/\r\n\r\n4\r\nbody\r\n0\r\n\r\n$/);
});
