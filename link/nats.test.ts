// SPDX-License-Identifier: Apache-2.0
/** The link over NATS, against a real nats-server that is killed and started under it. */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, test } from "vitest";
import type { HostFacts, Observation } from "#contract/link/machine.ts";
import { natsServer, startNatsServer, type TestNats } from "#testing/nats-server.ts";
import { describeWith } from "#testing/requirements.ts";
import { factsOf, linkConformance } from "./conformance.ts";
import { encodeFrame } from "./frame.ts";
import { enter, newNkey } from "./nats/access.ts";
import { dialNats } from "./nats/dial.ts";
import { listenNats } from "./nats/listen.ts";
import { Pipe } from "./nats/pipe.ts";
import { downOf, newToken, parseCall, splitSubject, upOf } from "./nats/subjects.ts";
import type { ControlHandlers, ControlLink, HostHandlers, HostLink } from "./port.ts";

const backoff = { firstMs: 2, mostMs: 20 };
const quiet = { async onHost() {}, onHostGone() {}, async onObserved() {} };
const idle: HostHandlers = { onDesired() {}, onStream() {} };
const REQUEST = { kind: "file-get", machineId: "m", path: "p" } as const;

const control = (nats: TestNats, handlers: ControlHandlers, more: object = {}) =>
  listenNats({
    servers: [nats.url],
    credentials: { nkeySeed: nats.controlSeed },
    ...{ handlers, replica: "control-1", backoff },
    ...more,
  });

const host = (nats: TestNats, facts: HostFacts, handlers: HostHandlers, more: object = {}) =>
  dialNats({
    servers: [nats.url],
    credentials: { nkeySeed: nats.seedOf(facts.hostId) },
    ...{ facts, handlers, backoff },
    ...more,
  });

/** A host of its own making: sends these bytes on the pipe that control calls it to, until control ends it. */
async function raw(nats: TestNats, hostId: string, bytes: Uint8Array): Promise<Buffer> {
  const access = { servers: [nats.url], credentials: { nkeySeed: nats.seedOf(hostId) } };
  const broker = await enter(access, "raw", 5_000);
  const token = newToken();
  const parts: Buffer[] = [];
  const ended = Promise.withResolvers<void>();
  let pipe: Pipe | undefined;
  broker.subscribe(`${downOf(hostId)}.>`, {
    callback(_error, { subject, data }) {
      const { rest } = splitSubject(subject);
      if (rest !== "call") return pipe?.arrived(data);
      const call = parseCall(data);
      if (pipe || call?.host !== token) return;
      pipe = new Pipe((message) => broker.publish(`${upOf(hostId)}.${call.pipe}`, message), 1024 * 1024);
      pipe.on("data", (part: Buffer) => parts.push(part)).on("error", () => {});
      pipe.on("close", () => ended.resolve());
      pipe.write(bytes);
    },
  });
  broker.publish(`${upOf(hostId)}.here`, token);
  await ended.promise;
  await broker.close();
  return Buffer.concat(parts);
}

async function withNats(body: (nats: TestNats) => Promise<void>): Promise<void> {
  const nats = await startNatsServer(["host_a", "host_b"]);
  try {
    await body(nats);
  } finally {
    await nats.stop();
  }
}

async function until(what: string, look: () => boolean): Promise<void> {
  for (const since = performance.now(); !look(); ) {
    if (performance.now() - since > 15_000) throw new Error(`never seen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const running = (number: number): Observation => ({
  machineId: `mach_${number.toString(16).padStart(32, "0")}`,
  generation: 1,
  state: "running",
});

describeWith([natsServer], "over NATS", () => {
  linkConformance("NATS", {
    async control(handlers) {
      const nats = await startNatsServer(["host_a", "host_b", "host_raw"]);
      return {
        link: await control(nats, handlers),
        dial: async (facts, hostHandlers) => host(nats, facts, hostHandlers),
        async drop() {
          await nats.kill();
          await nats.start();
        },
        raw: (bytes) => raw(nats, "host_raw", bytes),
        dispose: () => nats.stop(),
      };
    },
  });

  test("a report that was acknowledged is committed, however often the broker dies", async () => {
    await withNats(async (nats) => {
      const committed = new Set<string>();
      const link = await control(nats, {
        ...quiet,
        async onObserved(_hostId, observations) {
          await new Promise((resolve) => setTimeout(resolve, 1));
          for (const { machineId } of observations) committed.add(machineId);
        },
      });
      const dialled = host(nats, factsOf("host_a"), idle);
      let killing = true;
      let rejections = 0;
      let acknowledged = 0;
      const saying = (async () => {
        while (killing || acknowledged < 50) {
          const said = running(acknowledged);
          try {
            await dialled.report([said]);
          } catch {
            rejections += 1;
            await new Promise((resolve) => setTimeout(resolve, 2));
            continue;
          }
          expect(committed).toContain(said.machineId);
          acknowledged += 1;
        }
      })();
      for (let round = 0; round < 3; round++) {
        const before = acknowledged;
        await until("reports", () => acknowledged > before + 5);
        await nats.kill();
        await nats.start();
      }
      const before = acknowledged;
      await until("reports after the last death", () => acknowledged > before + 5);
      killing = false;
      await saying;
      expect(rejections).toBeGreaterThan(0);
      expect(committed.size).toBe(acknowledged);
      await dialled.close();
      await link.close();
    });
  });

  test("control refuses to start on a broker that refuses it, and a host goes on asking", async () => {
    await withNats(async (nats) => {
      const stranger = { credentials: { nkeySeed: newNkey().seed } };
      // The broker hangs up behind its words, which may be noticed before them.
      await expect(control(nats, quiet, stranger)).rejects.toThrow(/Authorization|EPIPE|ECONNRESET/i);
      const faults: Error[] = [];
      const dialled = host(nats, factsOf("host_a"), idle, {
        ...stranger,
        onFault: (error: Error) => faults.push(error),
      });
      await until("two refusals", () => faults.length > 1);
      await dialled.close();
    });
  });

  test("a host that starts again under its id replaces itself", async () => {
    await withNats(async (nats) => {
      let joins = 0;
      const gone: string[] = [];
      const link = await control(nats, {
        ...quiet,
        async onHost() {
          joins += 1;
        },
        onHostGone: (hostId) => gone.push(hostId),
      });
      const served = (name: string): HostLink =>
        host(
          nats,
          factsOf("host_a"),
          { onDesired() {}, onStream: (_, stream) => stream.end({ kind: "done", trailer: name }) },
          { backoff: { firstMs: 60_000, mostMs: 60_000 } },
        );
      const old = served("old");
      await until("the old", () => joins === 1);
      const young = served("young");
      await until("the young", () => joins === 2);
      expect(gone).toEqual(["host_a"]);
      expect(await link.openStream("host_a", REQUEST).ended).toEqual({ kind: "done", trailer: "young" });
      expect(link.hosts()).toHaveLength(1);
      await old.close();
      await young.close();
      await link.close();
    });
  });

  test("a flood of reports costs the host its connection, and coming back buys no room", async () => {
    await withNats(async (nats) => {
      const held = Promise.withResolvers<void>();
      let handled = 0;
      const faults: string[] = [];
      const link = await control(
        nats,
        {
          ...quiet,
          async onObserved() {
            handled += 1;
            await held.promise;
          },
        },
        { onFault: (error: Error) => faults.push(error.message) },
      );
      const frames = (count: number) =>
        Buffer.concat([
          encodeFrame({ t: "hello", v: 1 } as never),
          encodeFrame({ t: "joined", facts: factsOf("host_a") } as never),
          ...Array.from({ length: count }, (_, at) =>
            encodeFrame({ t: "observed", id: at + 1, observations: [] } as never),
          ),
        ]);
      await raw(nats, "host_a", frames(257));
      await raw(nats, "host_a", frames(1));
      expect(faults.filter((message) => message === "a flood of reports")).toHaveLength(2);
      // One per connection is at the handler; the rest wait behind it.
      expect(handled).toBe(1);
      held.resolve();
      const dialled = host(nats, factsOf("host_a"), idle);
      await until("room again", () => link.hosts().length > 0);
      await dialled.report([running(1)]);
      await dialled.close();
      await link.close();
    });
  });

  test("a network that swallows everything without a word is noticed on both sides, and outlived", async () => {
    await withNats(async (nats) => {
      const between: Socket[] = [];
      const relay = createServer((near) => {
        const far = connect(nats.port, "127.0.0.1");
        for (const socket of [near, far]) between.push(socket.on("error", () => {}));
        near.pipe(far).pipe(near);
      });
      await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
      const servers = [`nats://127.0.0.1:${(relay.address() as AddressInfo).port}`];
      const heartbeatMs = 30;
      const gone: string[] = [];
      const link = await control(
        nats,
        { ...quiet, onHostGone: (hostId) => gone.push(hostId) },
        { heartbeatMs },
      );
      const ends: string[] = [];
      const handlers: HostHandlers = {
        onDesired() {},
        onStream: (_, stream) => void stream.ended.then(({ kind }) => ends.push(kind)),
      };
      const dialled = host(nats, factsOf("host_a"), handlers, { servers, heartbeatMs });
      await until("the host", () => link.hosts().length === 1);
      const stream = link.openStream("host_a", REQUEST);
      await stream.write(Buffer.from("before"));
      await new Promise((resolve) => setTimeout(resolve, 3 * heartbeatMs));
      expect(gone).toEqual([]);
      for (const socket of between) socket.unpipe().pause();
      expect(await stream.ended).toEqual({ kind: "lost" });
      await until("the end on the host's side", () => ends.includes("lost"));
      expect(gone).toEqual(["host_a"]);
      // By a connection of its own making, since the old one never said a word.
      await until("its return", () => link.hosts().length === 1);
      await dialled.report([running(1)]);
      await dialled.close();
      await link.close();
      for (const socket of between) socket.destroy();
      await new Promise((resolve) => relay.close(resolve));
    });
  });

  test("a host that was taken over cannot join as another, nor reach another's pipe", async () => {
    await withNats(async (nats) => {
      let link!: ControlLink;
      const faults: string[] = [];
      link = await control(nats, quiet, { onFault: (error: Error) => faults.push(error.message) });
      const victim = host(nats, factsOf("host_b"), {
        onDesired() {},
        async onStream(_request, stream) {
          for await (const { bytes } of stream.chunks()) await stream.write(bytes);
          stream.end({ kind: "done", trailer: "whole" });
        },
      });
      await until("the victim", () => link.hosts().length === 1);
      const stream = link.openStream("host_b", REQUEST);
      await raw(
        nats,
        "host_a",
        Buffer.concat([
          encodeFrame({ t: "hello", v: 1 } as never),
          encodeFrame({ t: "joined", facts: factsOf("host_b") } as never),
        ]),
      );
      expect(faults).toContain("facts of a host that the credentials are not for");
      expect(link.hosts().map(({ hostId }) => hostId)).toEqual(["host_b"]);

      // Its own call shows control's token; the numbers below its own are those of others.
      const access = { servers: [nats.url], credentials: { nkeySeed: nats.seedOf("host_a") } };
      const broker = await enter(access, "raw", 5_000);
      const called = Promise.withResolvers<string>();
      const token = newToken();
      broker.subscribe(`${downOf("host_a")}.call`, {
        callback: (_error, { data }) => called.resolve(parseCall(data)!.pipe),
      });
      broker.publish(`${upOf("host_a")}.here`, token);
      const [session, number] = (await called.promise).split(".") as [string, string];
      for (let guess = 0; guess < Number(number); guess++)
        broker.publish(`${upOf("host_a")}.${session}.${guess}`, "a hole in the victim's pipe");
      await broker.flush();
      await stream.write(Buffer.from("still here"));
      stream.finish();
      expect(await stream.ended).toEqual({ kind: "done", trailer: "whole" });
      await broker.close();
      await victim.close();
      await link.close();
    });
  });
});
