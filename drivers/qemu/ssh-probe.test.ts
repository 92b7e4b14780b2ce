// SPDX-License-Identifier: Apache-2.0
/** A machine can be logged in to when its server shows the key that the machine named, and not before. */
import { connect, createServer } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { freePort } from "#testing/free-port.ts";
import { type SshMachine, startSshMachine } from "#testing/ssh-machine.ts";
import { requireSsh } from "./ssh-probe.ts";

const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID3LSWG/ZfeyZSVgsrIbllxjufn23yqbkvefP6JEcfmh";
let machine: SshMachine;
beforeAll(async () => {
  machine = await startSshMachine(KEY, "m");
});
afterAll(() => machine.close());

it("a server with the machine's key is one", async () => {
  await requireSsh(machine.endpoint, 20_000);
});

it("a server with another key is somebody else's, however long it is asked", async () => {
  const other = { ...machine.endpoint, ssh: { hostKeys: [KEY] } };
  await expect(requireSsh(other, 20_000)).rejects.toThrow("a key that is not the machine's");
});

it("one that comes late is waited for, and one that never speaks is not for ever", async () => {
  const port = await freePort();
  const { host, ssh } = machine.endpoint;
  await expect(requireSsh({ host, port, ssh: ssh! }, 300)).rejects.toThrow("does not answer");
  const waiting = requireSsh({ host, port, ssh: ssh! }, 60_000);
  // It leads where the machine is, as a host's network does.
  const late = createServer((socket) => {
    const inside = connect(machine.endpoint.port, host);
    for (const one of [socket, inside]) one.on("error", () => {});
    socket.pipe(inside).pipe(socket);
  }).listen(port, host);
  await waiting;
  late.close();
});
