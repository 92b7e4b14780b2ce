// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { factsOf, linkConformance } from "./conformance.ts";
import { encodeFrame, FrameDecoder } from "./frame.ts";
import { CHUNK_MAX, CREDIT_BYTES } from "./port.ts";
import { dialSocket, listenSocket } from "./socket.ts";

const backoff = { firstMs: 2, mostMs: 20 };
const quiet = { async onHost() {}, onHostGone() {}, async onObserved() {} };

linkConformance("unix socket", {
  async control(handlers) {
    const folder = mkdtempSync(join(tmpdir(), "casemate-link-"));
    const path = join(folder, "control.sock");
    const link = await listenSocket({ path, handlers });
    // Hosts dial through this, so that the transport can be cut under both ends.
    const cut = new Set<Socket>();
    const via = join(folder, "via.sock");
    const relay: Server = createServer((near) => {
      const far = connect(path);
      for (const socket of [near, far]) {
        cut.add(socket);
        socket.on("error", () => {}).on("close", () => cut.delete(socket));
      }
      near.pipe(far).pipe(near);
      near.on("close", () => far.destroy());
      far.on("close", () => near.destroy());
    });
    await new Promise<void>((resolve) => relay.listen(via, resolve));
    return {
      link,
      dial: async (facts, hostHandlers) => dialSocket({ path: via, facts, handlers: hostHandlers, backoff }),
      async drop() {
        for (const socket of cut) socket.destroy();
      },
      raw: (bytes) =>
        new Promise((resolve) => {
          const parts: Buffer[] = [];
          const socket = connect(path, () => socket.write(bytes));
          socket.on("data", (part) => parts.push(part));
          socket.on("error", () => {});
          socket.on("close", () => resolve(Buffer.concat(parts)));
        }),
      async dispose() {
        for (const socket of cut) socket.destroy();
        await new Promise((resolve) => relay.close(resolve));
        rmSync(folder, { recursive: true, force: true });
      },
    };
  },
});

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-link-"));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("the socket and its folder are closed to other users, and an open folder is refused", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "link", "control.sock");
    const link = await listenSocket({ path, handlers: quiet });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, "link")).mode & 0o777).toBe(0o700);
    await link.close();
    mkdirSync(join(folder, "open"));
    chmodSync(join(folder, "open"), 0o755);
    await expect(listenSocket({ path: join(folder, "open", "s"), handlers: quiet })).rejects.toThrow(/0700/);
  });
});

test("a second control does not take the socket of a live one, but that of a dead one", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "control.sock");
    const first = await listenSocket({ path, handlers: quiet });
    await expect(listenSocket({ path, handlers: quiet })).rejects.toThrow(/another control/);
    await first.close();
    await (await listenSocket({ path, handlers: quiet })).close();
  });
});

test("a host dials until control is there, and again when control returns", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "control.sock");
    const host = dialSocket({
      path,
      facts: factsOf("host_a"),
      handlers: { onDesired() {}, onStream() {} },
      backoff,
    });
    try {
      await expect(host.report([])).rejects.toThrow(/not connected/);
      for (let round = 0; round < 2; round++) {
        const joined = Promise.withResolvers<void>();
        const link = await listenSocket({
          path,
          handlers: { ...quiet, onHost: async () => joined.resolve() },
        });
        await joined.promise;
        await link.close();
      }
    } finally {
      await host.close();
    }
  });
});

test("a host that joins twice replaces itself", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "control.sock");
    let joins = 0;
    const link = await listenSocket({
      path,
      handlers: {
        ...quiet,
        async onHost() {
          joins += 1;
        },
      },
    });
    const served = (name: string) => ({
      path,
      facts: factsOf("host_a"),
      backoff: { firstMs: 60_000, mostMs: 60_000 },
      handlers: {
        onDesired() {},
        onStream: (_: unknown, stream: { end(end: { kind: "done"; trailer: unknown }): void }) =>
          stream.end({ kind: "done", trailer: name }),
      },
    });
    const old = dialSocket(served("old"));
    while (joins < 1) await new Promise((resolve) => setTimeout(resolve, 2));
    const young = dialSocket(served("young"));
    while (joins < 2) await new Promise((resolve) => setTimeout(resolve, 2));
    const { ended } = link.openStream("host_a", { kind: "file-get", machineId: "m", path: "p" });
    expect(await ended).toEqual({ kind: "done", trailer: "young" });
    expect(link.hosts()).toHaveLength(1);
    await old.close();
    await young.close();
    await link.close();
  });
});

test("a control that falls silent is given up, though its socket stays open", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "control.sock");
    const sockets = new Set<Socket>();
    let connections = 0;
    const mute = createServer((socket) => {
      connections += 1;
      sockets.add(socket.on("error", () => {}));
    });
    await new Promise<void>((resolve) => mute.listen(path, resolve));
    const host = dialSocket({
      path,
      facts: factsOf("host_a"),
      handlers: { onDesired() {}, onStream() {} },
      heartbeatMs: 10,
      backoff,
    });
    while (connections < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    await host.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => mute.close(resolve));
  });
});

test("a host that sends more than it was granted loses its connection, and control its memory of it", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "control.sock");
    const faults: string[] = [];
    const joined = Promise.withResolvers<void>();
    const link = await listenSocket({
      path,
      handlers: { ...quiet, onHost: async () => joined.resolve() },
      onFault: (error) => faults.push(error.message),
    });
    const decoder = new FrameDecoder();
    const socket = connect(path);
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      for (const { header } of decoder.push(chunk)) {
        if (header.t === "welcome")
          socket.write(encodeFrame({ t: "joined", facts: factsOf("host_a") } as never));
        if (header.t !== "open") continue;
        for (let sent = 0; sent <= CREDIT_BYTES; sent += CHUNK_MAX)
          socket.write(encodeFrame({ t: "data", s: 1, c: 1 } as never, new Uint8Array(CHUNK_MAX)));
      }
    });
    socket.write(encodeFrame({ t: "hello", v: 1 } as never));
    await joined.promise;
    const stream = link.openStream("host_a", { kind: "file-get", machineId: "m", path: "p" });
    expect(await stream.ended).toEqual({ kind: "lost" });
    expect(faults).toEqual(["more bytes than were granted"]);
    expect(link.hosts()).toEqual([]);
    await link.close();
  });
});
