// SPDX-License-Identifier: Apache-2.0
/** Several replicas of control on one broker, one of them a process that is killed. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Desired, Observation } from "#contract/link/machine.ts";
import { natsServer, startNatsServer, type TestNats } from "#testing/nats-server.ts";
import { describeWith } from "#testing/requirements.ts";
import { factsOf } from "../conformance.ts";
import {
  CHUNK_MAX,
  type ControlHandlers,
  type HostHandlers,
  type HostLink,
  type LinkStream,
} from "../port.ts";
import { dialNats } from "./dial.ts";
import { listenNats } from "./listen.ts";

const backoff = { firstMs: 2, mostMs: 20 };
const heartbeatMs = 200;
const quiet = { async onHost() {}, onHostGone() {}, async onObserved() {} };
const idle: HostHandlers = { onDesired() {}, onStream() {} };
const REQUEST = { kind: "file-get", machineId: "m", path: "p" } as const;

async function until(what: string, look: () => boolean): Promise<void> {
  for (const since = performance.now(); !look(); ) {
    if (performance.now() - since > 15_000) throw new Error(`never seen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const idOf = (number: number) => `mach_${number.toString(16).padStart(32, "0")}`;
const running = (number: number): Observation => ({
  machineId: idOf(number),
  generation: 1,
  state: "running",
});
const wish = (number: number): Desired => ({
  machineId: idOf(number),
  generation: 1,
  want: "up",
  spec: {
    ...{ isolation: "process", image: null, cpuMillis: 1, memoryMiB: 1, pidsMax: 1, network: "none" },
    endProof: null,
  },
  remainingMs: null,
  trigger: "api",
});

/** Opens a stream and takes what comes; says so. Commits what is odd, and sits on what is even. */
const OTHER_PROCESS = `
  import { listenNats } from ${JSON.stringify(new URL("listen.ts", import.meta.url).href)};
  const { url, seed } = JSON.parse(process.env.ASKED);
  const link = await listenNats({
    servers: [url],
    credentials: { nkeySeed: seed },
    replica: "control-2",
    heartbeatMs: ${heartbeatMs},
    handlers: {
      async onHost({ hostId }) {
        const stream = link.openStream(hostId, { kind: "file-get", machineId: "other", path: "p" });
        let said = false;
        for await (const _ of stream.chunks()) {
          if (!said) console.log("streaming");
          said = true;
        }
      },
      onHostGone() {},
      onObserved: () => {
        console.log("holding");
        return new Promise(() => {});
      },
    },
  });
`;

describeWith([natsServer], "replicas over NATS", () => {
  let nats: TestNats;
  beforeAll(async () => {
    nats = await startNatsServer(["host_a"]);
  });
  afterAll(() => nats.stop());

  const listen = (replica: string, handlers: ControlHandlers) =>
    listenNats({
      servers: [nats.url],
      credentials: { nkeySeed: nats.controlSeed },
      ...{ handlers, replica, heartbeatMs, backoff },
    });
  const dial = (handlers: HostHandlers): HostLink =>
    dialNats({
      servers: [nats.url],
      credentials: { nkeySeed: nats.seedOf("host_a") },
      facts: factsOf("host_a"),
      ...{ handlers, heartbeatMs, backoff },
    });
  const otherProcess = (): ChildProcess & { said: string[] } => {
    const child = spawn(process.execPath, ["--input-type=module", "-e", OTHER_PROCESS], {
      env: { ASKED: JSON.stringify({ url: nats.url, seed: nats.controlSeed }) },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const said: string[] = [];
    createInterface({ input: child.stdout! }).on("line", (line) => said.push(line));
    return Object.assign(child, { said });
  };

  test("each report is committed by exactly one of them, in the order it was said", async () => {
    const commits: { replica: string; machineId: string }[] = [];
    // One is slower, so that reports spread over both while they are under way would overtake each other.
    const committing = (replica: string): ControlHandlers => ({
      ...quiet,
      async onObserved(_hostId, observations) {
        if (replica === "one") await new Promise((resolve) => setTimeout(resolve, 5));
        for (const { machineId } of observations) commits.push({ replica, machineId });
      },
    });
    const links = [
      await listen("control-1", committing("one")),
      await listen("control-2", committing("two")),
    ];
    const host = dial(idle);
    await until("both replicas", () => links.every((link) => link.hosts().length === 1));
    for (let number = 0; number < 20; number++) await host.report([running(number)]);
    await Promise.all(Array.from({ length: 20 }, (_, at) => host.report([running(20 + at)])));
    expect(commits.map(({ machineId }) => machineId)).toEqual(
      Array.from({ length: 40 }, (_, number) => idOf(number)),
    );
    expect(new Set(commits.map(({ replica }) => replica))).toEqual(new Set(["one", "two"]));
    await host.close();
    for (const link of links) await link.close();
  });

  test("both stream to the same host at once", async () => {
    const links = [await listen("control-1", quiet), await listen("control-2", quiet)];
    const host = dial({
      onDesired() {},
      async onStream(_request, stream) {
        for await (const { bytes } of stream.chunks()) await stream.write(bytes);
        stream.end({ kind: "done", trailer: null });
      },
    });
    await until("both replicas", () => links.every((link) => link.hosts().length === 1));
    const echoes = links.map(async (link, at) => {
      const stream = link.openStream("host_a", REQUEST);
      const sent = (async () => {
        for (let round = 0; round < 20; round++) await stream.write(Buffer.alloc(CHUNK_MAX, at + 1));
        stream.finish();
      })();
      let back = 0;
      for await (const { bytes } of stream.chunks())
        for (const byte of [bytes[0], bytes.at(-1)]) if (byte === at + 1) back += bytes.length / 2;
      await sent;
      return [(await stream.ended).kind, back];
    });
    for (const echo of await Promise.all(echoes)) expect(echo).toEqual(["done", 20 * CHUNK_MAX]);
    await host.close();
    for (const link of links) await link.close();
  });

  test("one that starts later hears of the hosts within a heartbeat or so", async () => {
    const first = await listen("control-1", quiet);
    const host = dial(idle);
    await until("the first", () => first.hosts().length === 1);
    const late = await listen("control-2", quiet);
    const since = performance.now();
    await until("the late one", () => late.hosts().length === 1);
    expect(performance.now() - since).toBeLessThan(25 * heartbeatMs);
    expect(first.hosts()).toHaveLength(1);
    await host.close();
    for (const link of [first, late]) await link.close();
  });

  test("a list read before another replica's wish ends nothing, and is still taken", async () => {
    const batches: { ids: string[]; complete: boolean }[] = [];
    const first = await listen("control-1", {
      ...quiet,
      async onHost() {
        first.sendDesired("host_a", [wish(1)], true);
      },
    });
    const host = dial({
      onDesired: (batch, complete) =>
        batches.push({ ids: batch.map(({ machineId }) => machineId), complete }),
      onStream() {},
    });
    await until("the first list", () => batches.length === 1);
    const second = await listen("control-2", {
      ...quiet,
      async onHost() {
        // It has read its rows; before they arrive, a machine is made through the other replica.
        first.sendDesired("host_a", [wish(2)]);
        await until("the wish", () => batches.length === 2);
        second.sendDesired("host_a", [wish(1)], true);
      },
    });
    await until("the second list", () => batches.length === 3);
    expect(batches).toEqual([
      { ids: [idOf(1)], complete: true },
      { ids: [idOf(2)], complete: false },
      { ids: [idOf(1)], complete: false },
    ]);
    // With nobody speaking in between, a list is what it says.
    const third = await listen("control-3", {
      ...quiet,
      async onHost() {
        third.sendDesired("host_a", [wish(2)], true);
      },
    });
    await until("the third list", () => batches.length === 4);
    expect(batches[3]).toEqual({ ids: [idOf(2)], complete: true });
    await host.close();
    for (const link of [first, second, third]) await link.close();
  });

  test("one that is killed loses its streams and its reports, and nothing else", async () => {
    const committed: string[] = [];
    const link = await listen("control-1", {
      ...quiet,
      async onObserved(_hostId, observations) {
        committed.push(...observations.map(({ machineId }) => machineId));
      },
    });
    const served = new Map<string, LinkStream>();
    const host = dial({
      onDesired() {},
      async onStream(request, stream) {
        const machineId = "machineId" in request ? request.machineId : "none";
        served.set(machineId, stream);
        try {
          for (;;) await stream.write(new Uint8Array(1000));
        } catch {}
      },
    });
    const other = otherProcess();
    try {
      await until("the host", () => link.hosts().length === 1);
      const stream = link.openStream("host_a", REQUEST);
      let taken = 0;
      const taking = (async () => {
        for await (const { bytes } of stream.chunks()) taken += bytes.length;
      })();
      await until("the other's stream", () => other.said.includes("streaming"));
      // Reports go to one and the other by turns; the second of two is held there.
      const answers: string[] = [];
      for (const number of [1, 2]) {
        void host.report([running(number)]).then(
          () => answers.push(`committed ${number}`),
          () => answers.push(`rejected ${number}`),
        );
        await until("an answer, or the report held", () =>
          answers.length > 0 ? true : other.said.includes("holding"),
        );
        if (other.said.includes("holding")) break;
      }
      await until("the report held", () => other.said.includes("holding"));
      const held = committed.length + 1;
      other.kill("SIGKILL");
      await once(other, "exit");
      expect(await served.get("other")!.ended).toEqual({ kind: "lost" });
      expect(served.get("other")!.signal.aborted).toBe(true);
      await until("the rejection", () => answers.includes(`rejected ${held}`));
      // Said again, it reaches the one that lives, whose stream never stopped.
      await host.report([running(held)]);
      expect(committed).toContain(idOf(held));
      const before = taken;
      await until("more bytes", () => taken > before);
      stream.cancel();
      served.get("m")!.end({ kind: "cancelled" });
      await taking;
      expect(await stream.ended).toEqual({ kind: "cancelled" });
    } finally {
      other.kill("SIGKILL");
      await host.close();
      await link.close();
    }
  });
});
