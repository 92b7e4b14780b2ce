// SPDX-License-Identifier: Apache-2.0
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { expect, test } from "vitest";
import { describeWith } from "#testing/requirements.ts";
import { listensOutside } from "./listening.ts";

async function listening(host: string) {
  const server = createServer().listen(0, host);
  await once(server, "listening");
  return { server, port: (server.address() as AddressInfo).port };
}

test.each(["0.0.0.0", "::"])("a listener on %s is seen while it listens, on its port alone", async (host) => {
  const { server, port } = await listening(host);
  expect(listensOutside(process.pid, port)).toBe(true);
  expect(listensOutside(process.pid, port === 65_535 ? port - 1 : port + 1)).toBe(false);
  server.close();
  await once(server, "close");
  expect(listensOutside(process.pid, port)).toBe(false);
});

test.each(["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])(
  "one on %s is not outside",
  async (host) => {
    const { server, port } = await listening(host);
    expect(listensOutside(process.pid, port)).toBe(false);
    server.close();
  },
);

/** Of this computer; what is sent there stays on it. */
const own = Object.values(networkInterfaces())
  .flatMap((each) => each ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;

describeWith([{ met: own !== undefined, reason: "needs an address beside loopback" }], "a connection", () => {
  test("is no listener on its port", async () => {
    const { server, port } = await listening("0.0.0.0");
    const socket = connect(port, own!);
    await once(socket, "connect");
    expect(listensOutside(process.pid, socket.localPort!)).toBe(false);
    socket.destroy();
    server.close();
  });
});

test("a process that is not there listens nowhere", async () => {
  const { server, port } = await listening("0.0.0.0");
  expect(listensOutside(2 ** 22 + 1, port)).toBe(false);
  server.close();
});
