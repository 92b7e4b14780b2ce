// SPDX-License-Identifier: Apache-2.0
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { expect, test } from "vitest";
import { freePort } from "#testing/free-port.ts";
import { openDoors } from "./doors.ts";

test.each([
  ["an address of its own", "127.0.0.77"],
  ["none", undefined],
])("a door that is to dial from %s is seen so by where it leads", async (_what, from) => {
  const server = createServer((socket) => socket.end(socket.remoteAddress ?? "")).listen(0, "127.0.0.1");
  await once(server, "listening");
  const to = { host: "127.0.0.1", port: (server.address() as AddressInfo).port };
  const port = await freePort();
  const addresses = { gateway: "127.0.0.1", guest: "127.0.0.1" };
  const doors = await openDoors(addresses, [{ port, to, ...(from !== undefined && { from }) }], null);
  try {
    const guest = connect({ host: "127.0.0.1", port, localAddress: "127.0.0.1" });
    let said = "";
    guest.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    await once(guest, "close");
    expect(said).toBe(from ?? "127.0.0.1");
  } finally {
    doors.close();
    server.close();
  }
});
