// SPDX-License-Identifier: Apache-2.0
/**
 * What every link must keep, as tests over a factory. Each test makes its own link and takes it down;
 * the letters are those of port.ts.
 */
import { createHash, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { ChallengeWish } from "#contract/link/challenge.ts";
import type { Desired, HostFacts, Observation, StreamRequest } from "#contract/link/machine.ts";
import {
  CHUNK_MAX,
  type ControlHandlers,
  type ControlLink,
  CREDIT_BYTES,
  type HostHandlers,
  type HostLink,
  type LinkStream,
} from "./port.ts";

export interface LinkFactory {
  /** A listening control; `dial` joins a host to it. */
  control(handlers: ControlHandlers): Promise<{
    link: ControlLink;
    dial(facts: HostFacts, handlers: HostHandlers): Promise<HostLink>;
    /** Breaks the transport under the links without either side having asked for it. */
    drop(): Promise<void>;
    /** Bytes the other side sent on a raw connection; absent where there is none (a broker). */
    raw?(bytes: Uint8Array): Promise<Buffer>;
    dispose(): Promise<void>;
  }>;
}

export const factsOf = (hostId: string): HostFacts => ({
  hostId,
  version: "0.0.0",
  bootId: "boot",
  cpus: 1,
  memoryMiB: 1,
  drivers: [],
  issuers: [],
  engines: {},
});

const REQUEST: StreamRequest = { kind: "file-get", machineId: "mach_x", path: "x" };

function desiredOf(number: number): Desired {
  return {
    machineId: `mach_${number.toString(16).padStart(32, "0")}`,
    generation: 1,
    want: "up",
    spec: {
      isolation: "process",
      image: null,
      cpuMillis: 1,
      memoryMiB: 1,
      pidsMax: 1,
      network: "none",
      endProof: {
        profile: "casemate-cdp/1",
        subject: {
          session_id: "s",
          created_at: "c",
          data_classification: "d",
          jurisdiction: "j",
          ttl_seconds: null,
        },
      },
    },
    remainingMs: null,
    trigger: "api",
  };
}

interface Pair {
  control: Awaited<ReturnType<LinkFactory["control"]>>;
  link: ControlLink;
  host: HostLink;
  joins: HostFacts[];
  gone: string[];
  observed: Observation[];
  batches: { batch: Desired[]; complete: boolean }[];
  until<T>(what: string, look: () => T | undefined | false): Promise<T>;
}

interface PairOptions {
  onStream?: HostHandlers["onStream"];
  onObserved?: (observations: Observation[]) => void;
  onHost?: (facts: HostFacts) => void;
  onChallenge?: ControlHandlers["onChallenge"];
  beforeCommit?: () => Promise<void>;
}

async function until<T>(what: string, look: () => T | undefined | false): Promise<T> {
  for (const since = performance.now(); performance.now() - since < 15_000; ) {
    const found = look();
    if (found !== undefined && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`never seen: ${what}`);
}

async function linked(
  factory: LinkFactory,
  options: PairOptions,
  body: (pair: Pair) => Promise<void>,
): Promise<void> {
  const joins: HostFacts[] = [];
  const gone: string[] = [];
  const observed: Observation[] = [];
  const batches: Pair["batches"] = [];
  const control = await factory.control({
    async onHost(facts) {
      options.onHost?.(facts);
      joins.push(facts);
    },
    onHostGone: (hostId) => gone.push(hostId),
    ...(options.onChallenge && { onChallenge: options.onChallenge }),
    async onObserved(_hostId, observations) {
      options.onObserved?.(observations);
      await options.beforeCommit?.();
      observed.push(...observations);
    },
  });
  let host: HostLink | undefined;
  try {
    host = await control.dial(factsOf("host_a"), {
      onDesired: (batch, complete) => batches.push({ batch, complete }),
      onStream: options.onStream ?? ((_request, stream) => stream.end({ kind: "done", trailer: null })),
    });
    await until("the host", () => joins.length > 0);
    await body({ control, link: control.link, host, joins, gone, observed, batches, until });
  } finally {
    await host?.close();
    await control.link.close();
    await control.dispose();
  }
}

const running = (number: number): Observation => ({
  machineId: desiredOf(number).machineId,
  generation: 1,
  state: "running",
});

async function drain(stream: LinkStream): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const { bytes } of stream.chunks()) parts.push(bytes);
  return Buffer.concat(parts);
}

/** Writes until the stream has ended, as a program does whose output nobody bounds. */
async function writeOn(stream: LinkStream, chunk: Uint8Array, onSent: (bytes: number) => void) {
  try {
    for (;;) {
      await stream.write(chunk);
      onSent(chunk.length);
    }
  } catch {
    // It has ended.
  }
}

export function linkConformance(name: string, factory: LinkFactory): void {
  describe(`${name} link`, () => {
    streams(factory);
    desiredAndObserved(factory);
    faults(factory);
  });
}

function streams(factory: LinkFactory): void {
  test("100 MiB arrive as they were sent, in both directions at once", async () => {
    const block = randomBytes(1024 * 1024);
    const blocks = 100;
    const expected = createHash("sha256");
    for (let i = 0; i < blocks; i++) expected.update(block);
    const digest = expected.digest("hex");
    const digestOf = async (stream: LinkStream) => {
      const hash = createHash("sha256");
      for await (const { bytes } of stream.chunks()) hash.update(bytes);
      return hash.digest("hex");
    };
    const send = async (stream: LinkStream) => {
      for (let i = 0; i < blocks; i++) await stream.write(block);
    };
    await linked(
      factory,
      {
        async onStream(_request, stream) {
          const [got] = await Promise.all([digestOf(stream), send(stream)]);
          stream.end({ kind: "done", trailer: got });
        },
      },
      async ({ link }) => {
        const stream = link.openStream("host_a", REQUEST);
        const sent = send(stream).then(() => stream.finish());
        expect(await digestOf(stream)).toBe(digest);
        await sent;
        expect(await stream.ended).toEqual({ kind: "done", trailer: digest });
      },
    );
  });

  test("a reader that takes nothing stops the writer within the credit (C)", async () => {
    let sent = 0;
    await linked(
      factory,
      {
        onStream(_request, stream) {
          writeOn(stream, new Uint8Array(64 * 1024), (bytes) => {
            sent += bytes;
          });
        },
      },
      async ({ link, until }) => {
        const stream = link.openStream("host_a", REQUEST);
        await until("the first bytes", () => sent > 0);
        await new Promise((resolve) => setTimeout(resolve, 100));
        const before = sent;
        await new Promise((resolve) => setTimeout(resolve, 100));
        expect(sent).toBe(before);
        expect(sent).toBeLessThanOrEqual(CREDIT_BYTES);
        // Taking some lets it go on.
        const reader = stream.chunks()[Symbol.asyncIterator]();
        for (let taken = 0; taken < CREDIT_BYTES / 2; ) taken += (await reader.next()).value.bytes.length;
        await until("more bytes", () => sent > before);
      },
    );
  });

  test("a flood of one-byte chunks is bounded by the credit too (C)", async () => {
    let sent = 0;
    await linked(
      factory,
      {
        onStream(_request, stream) {
          writeOn(stream, Uint8Array.of(1), (bytes) => {
            sent += bytes;
          });
        },
      },
      async ({ link, until }) => {
        link.openStream("host_a", REQUEST);
        await until("a standstill", () => sent > 1000);
        await new Promise((resolve) => setTimeout(resolve, 200));
        expect(sent).toBeLessThan(16_384);
      },
    );
  });

  test("chunks come in order, on their channels, each within the limit (B)", async () => {
    await linked(
      factory,
      {
        async onStream(_request, stream) {
          await Promise.all([
            stream.write(new Uint8Array(CHUNK_MAX * 2 + 5).fill(1), 1),
            stream.write(Buffer.from("second"), 2),
          ]);
          stream.end({ kind: "done", trailer: undefined });
        },
      },
      async ({ link }) => {
        const seen: [number, number][] = [];
        const stream = link.openStream("host_a", REQUEST);
        for await (const { channel, bytes } of stream.chunks()) seen.push([channel, bytes.length]);
        expect(seen).toEqual([
          [1, CHUNK_MAX],
          [1, CHUNK_MAX],
          [1, 5],
          [2, 6],
        ]);
        expect(await stream.ended).toEqual({ kind: "done", trailer: null });
      },
    );
  });

  test("the writer's buffer may be reused as soon as write resolves (A)", async () => {
    await linked(
      factory,
      {
        async onStream(_request, stream) {
          const chunk = Buffer.alloc(100_000, "a");
          await stream.write(chunk);
          chunk.fill("b");
          await stream.write(chunk);
          stream.end({ kind: "done", trailer: null });
        },
      },
      async ({ link }) => {
        const got = await drain(link.openStream("host_a", REQUEST));
        expect(got.equals(Buffer.concat([Buffer.alloc(100_000, "a"), Buffer.alloc(100_000, "b")]))).toBe(
          true,
        );
      },
    );
  });

  test("what was sent before the terminal frame is read after it", async () => {
    await linked(
      factory,
      {
        async onStream(_request, stream) {
          await stream.write(Buffer.from("last words"));
          stream.end({ kind: "failed", code: "x.y", detail: "z" });
        },
      },
      async ({ link }) => {
        const stream = link.openStream("host_a", REQUEST);
        expect(await stream.ended).toEqual({ kind: "failed", code: "x.y", detail: "z" });
        expect((await drain(stream)).toString()).toBe("last words");
      },
    );
  });

  test("only the first terminal counts, and nothing is written after it (D)", async () => {
    let refused: unknown;
    await linked(
      factory,
      {
        async onStream(_request, stream) {
          stream.end({ kind: "done", trailer: 1 });
          stream.end({ kind: "failed", code: "a", detail: "b" });
          stream.cancel();
          refused = await stream.write(Uint8Array.of(1)).catch((error: unknown) => error);
        },
      },
      async ({ link, until }) => {
        const stream = link.openStream("host_a", REQUEST);
        expect(await stream.ended).toEqual({ kind: "done", trailer: 1 });
        await until("the refusal", () => refused !== undefined);
        expect(refused).toBeInstanceOf(Error);
        await expect(stream.write(Uint8Array.of(1))).rejects.toThrow();
      },
    );
  });

  test("a cancel aborts the serving side, whose terminal still arrives", async () => {
    await linked(
      factory,
      {
        async onStream(_request, stream) {
          const flood = (async () => {
            // Nobody reads after a cancel; the writer must not hang on it.
            for (let i = 0; i < 64; i++) await stream.write(new Uint8Array(CHUNK_MAX));
          })();
          await new Promise((resolve) => stream.signal.addEventListener("abort", resolve));
          await flood;
          stream.end({ kind: "cancelled" });
        },
      },
      async ({ link }) => {
        const stream = link.openStream("host_a", REQUEST);
        stream.cancel();
        stream.cancel();
        expect(await stream.ended).toEqual({ kind: "cancelled" });
        expect((await drain(stream)).length).toBe(0);
      },
    );
  });

  test("a reader that walks away does not hold the writer", async () => {
    await linked(
      factory,
      {
        async onStream(_request, stream) {
          for (let i = 0; i < 64; i++) await stream.write(new Uint8Array(CHUNK_MAX));
          stream.end({ kind: "done", trailer: "all" });
        },
      },
      async ({ link }) => {
        const stream = link.openStream("host_a", REQUEST);
        for await (const _ of stream.chunks()) break;
        expect(await stream.ended).toEqual({ kind: "done", trailer: "all" });
      },
    );
  });

  test("a drop in the middle is `lost` on both ends and aborts the host's work (D)", async () => {
    let served: LinkStream | undefined;
    let writeFailed = false;
    await linked(
      factory,
      {
        async onStream(_request, stream) {
          served = stream;
          try {
            for (;;) await stream.write(new Uint8Array(CHUNK_MAX));
          } catch {
            writeFailed = true;
          }
        },
      },
      async ({ link, control, until, gone, joins }) => {
        const stream = link.openStream("host_a", REQUEST);
        const reader = stream.chunks()[Symbol.asyncIterator]();
        await reader.next();
        await control.drop();
        expect(await stream.ended).toEqual({ kind: "lost" });
        expect(await served!.ended).toEqual({ kind: "lost" });
        expect(served!.signal.aborted).toBe(true);
        await until("the failed write", () => writeFailed);
        expect((await reader.next()).done).toBe(true);
        await expect(stream.write(Uint8Array.of(1))).rejects.toThrow();
        await until("the host's return", () => joins.length === 2);
        expect(gone).toEqual(["host_a"]);
        served!.end({ kind: "done", trailer: 0 });
        expect(await served!.ended).toEqual({ kind: "lost" });
      },
    );
  });

  test("a handler that throws ends its stream and nothing else", async () => {
    let calls = 0;
    await linked(
      factory,
      {
        onStream(_request, stream) {
          calls += 1;
          if (calls === 1) throw new Error("broken");
          stream.end({ kind: "done", trailer: "second" });
        },
      },
      async ({ link }) => {
        expect(await link.openStream("host_a", REQUEST).ended).toMatchObject({ kind: "failed" });
        expect(await link.openStream("host_a", REQUEST).ended).toEqual({ kind: "done", trailer: "second" });
      },
    );
  });

  test("a stream to a host that is away fails at once", async () => {
    await linked(factory, {}, async ({ link }) => {
      expect(await link.openStream("host_nobody", REQUEST).ended).toMatchObject({
        kind: "failed",
        code: "host.away",
      });
    });
  });
}

function desiredAndObserved(factory: LinkFactory): void {
  test("no object is shared across the link (A)", async () => {
    await linked(factory, {}, async ({ link, host, batches, observed, until, joins }) => {
      const wish = desiredOf(1);
      link.sendDesired("host_a", [wish]);
      wish.generation = 99;
      await until("the batch", () => batches.length > 0);
      expect(batches[0]).toEqual({ batch: [desiredOf(1)], complete: false });
      const said = running(1);
      const reported = host.report([said]);
      said.generation = 99;
      await reported;
      expect(observed[0]).toEqual(running(1));
      link.hosts()[0]!.hostId = "changed";
      expect(link.hosts()[0]!.hostId).toBe("host_a");
      expect(joins[0]!.hostId).toBe("host_a");
    });
  });

  test("a batch larger than a frame arrives as one, complete or not", async () => {
    await linked(factory, {}, async ({ link, batches, until }) => {
      const many = Array.from({ length: 5_000 }, (_, number) => desiredOf(number));
      link.sendDesired("host_a", many, true);
      await until("the batch", () => batches.length > 0);
      expect(batches).toHaveLength(1);
      expect(batches[0]!.complete).toBe(true);
      expect(batches[0]!.batch).toHaveLength(5_000);
      link.sendDesired("host_a", [], true);
      await until("the empty batch", () => batches.length > 1);
      expect(batches[1]).toEqual({ batch: [], complete: true });
    });
  });

  test("a report is rejected when control did not commit it, and taken when said again (E)", async () => {
    let broken = true;
    await linked(
      factory,
      {
        onObserved() {
          if (broken) throw new Error("no database");
        },
      },
      async ({ host, observed }) => {
        await expect(host.report([running(1)])).rejects.toThrow();
        expect(observed).toEqual([]);
        broken = false;
        await host.report([running(1)]);
        expect(observed).toEqual([running(1)]);
      },
    );
  });

  test("a challenge is published when control wrote it down, refused by control's code, and waits for no report (E)", async () => {
    const wishes: ChallengeWish[] = [];
    const gate = Promise.withResolvers<void>();
    const wish = (want: ChallengeWish["want"]): ChallengeWish => ({
      ...{ machineId: `mach_${"0".repeat(32)}`, domain: "a.example", value: "v".repeat(43), want },
    });
    const onChallenge = async (hostId: string, said: ChallengeWish) => {
      expect(hostId).toBe("host_a");
      if (said.want === "withdrawn") throw Object.assign(new Error("no"), { code: "names.not-held" });
      wishes.push(said);
    };
    const options = { onChallenge, beforeCommit: () => gate.promise };
    await linked(factory, options, async ({ host, observed }) => {
      const reported = host.report([running(1)]);
      await host.publish(wish("published"));
      expect([wishes, observed]).toEqual([[wish("published")], []]);
      await expect(host.publish(wish("withdrawn"))).rejects.toMatchObject({ code: "names.not-held" });
      gate.resolve();
      await reported;
    });
    await linked(factory, {}, async ({ host }) => {
      await expect(host.publish(wish("published"))).rejects.toMatchObject({ code: "link.no-challenges" });
    });
  });

  test("a report larger than a frame is committed whole before it resolves (E)", async () => {
    await linked(factory, {}, async ({ host, observed }) => {
      const proof = "p".repeat(200_000);
      const many = Array.from({ length: 12 }, (_, number) => ({
        ...running(number),
        state: "ended" as const,
        ended: {
          trigger: "api",
          outcome: "complete" as const,
          endedAt: "now",
          proof,
          saltHex: "0".repeat(64),
        },
      }));
      await host.report(many);
      expect(observed.map((one) => one.ended!.proof.length)).toEqual(many.map(() => 200_000));
    });
  });

  test("a report under way when the link drops is rejected (E)", async () => {
    let release!: () => void;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const control = await factory.control({
      async onHost() {},
      onHostGone() {},
      onObserved: () => held,
    });
    const host = await control.dial(factsOf("host_a"), { onDesired() {}, onStream() {} });
    try {
      await until("the host", () => control.link.hosts().length > 0);
      const reported = host.report([running(1)]).then(
        () => "committed",
        () => "rejected",
      );
      await new Promise((resolve) => setTimeout(resolve, 20));
      await control.drop();
      expect(await reported).toBe("rejected");
    } finally {
      release();
      await host.close();
      await control.link.close();
      await control.dispose();
    }
  });

  test("a host that control could not take in comes again", async () => {
    let refusals = 2;
    await linked(
      factory,
      {
        onHost() {
          if (refusals-- > 0) throw new Error("no database");
        },
      },
      async ({ link }) => {
        expect(link.hosts().map((facts) => facts.hostId)).toEqual(["host_a"]);
      },
    );
  });

  test("a host that control drops loses its streams, and comes again only as far as control lets it", async () => {
    let putOut = false;
    let refused = 0;
    await linked(
      factory,
      {
        onHost() {
          if (!putOut) return;
          refused += 1;
          throw new Error("put out");
        },
        onStream: () => {},
      },
      async ({ link, gone, joins, until }) => {
        const stream = link.openStream("host_a", REQUEST);
        link.drop("host_b");
        putOut = true;
        link.drop("host_a");
        expect(await stream.ended).toEqual({ kind: "lost" });
        await until("two refusals", () => refused >= 2);
        expect(gone.length).toBeGreaterThanOrEqual(1);
        expect(joins).toHaveLength(1);
        putOut = false;
        await until("the host again", () => joins.length > 1);
      },
    );
  });

  test("changed facts reach control, and survive a reconnect", async () => {
    await linked(factory, {}, async ({ host, joins, link, control, until }) => {
      host.announce({ ...factsOf("host_a"), engines: { eee: false } });
      await until("the facts", () => joins.at(-1)?.engines.eee === false);
      expect(link.hosts()[0]!.engines).toEqual({ eee: false });
      await control.drop();
      await until("the return", () => joins.length === 3);
      expect(joins[2]!.engines).toEqual({ eee: false });
    });
  });

  test("two hosts get what is theirs", async () => {
    await linked(factory, {}, async ({ link, control, batches, until }) => {
      const others: Desired[][] = [];
      const second = await control.dial(factsOf("host_b"), {
        onDesired: (batch) => others.push(batch),
        onStream: (_request, stream) => stream.end({ kind: "done", trailer: "b" }),
      });
      try {
        await until("both hosts", () => link.hosts().length === 2);
        link.sendDesired("host_a", [desiredOf(1)]);
        link.sendDesired("host_b", [desiredOf(2)]);
        await until("both batches", () => batches.length > 0 && others.length > 0);
        expect(batches[0]!.batch).toEqual([desiredOf(1)]);
        expect(others).toEqual([[desiredOf(2)]]);
        expect(await link.openStream("host_b", REQUEST).ended).toEqual({ kind: "done", trailer: "b" });
      } finally {
        await second.close();
      }
    });
  });
}

function frame(header: unknown, payload = Buffer.alloc(0)): Buffer {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const head = Buffer.alloc(8);
  head.writeUInt32BE(4 + json.length + payload.length, 0);
  head.writeUInt32BE(json.length, 4);
  return Buffer.concat([head, json, payload]);
}

const HELLO = frame({ t: "hello", v: 1 });
const JOINED = frame({ t: "joined", facts: factsOf("host_raw") });
const huge = Buffer.alloc(8);
huge.writeUInt32BE(0xffffffff, 0);

const MALFORMED: [string, Buffer][] = [
  ["a frame over the limit", huge],
  ["not JSON", frame("{")],
  ["not UTF-8", frame("\u0000")],
  ["a list", frame([])],
  ["no kind", frame({ a: 1 })],
  ["an unknown kind", Buffer.concat([HELLO, JOINED, frame({ t: "shutdown" })])],
  ["an unknown member", Buffer.concat([HELLO, JOINED, frame({ t: "ping", more: 1 })])],
  ["a kind from the prototype", Buffer.concat([HELLO, JOINED, frame({ t: "constructor" })])],
  [
    "a stream opened by the host",
    Buffer.concat([HELLO, JOINED, frame({ t: "open", s: 1, request: REQUEST })]),
  ],
  ["bytes for a stream never opened", Buffer.concat([HELLO, JOINED, frame({ t: "data", s: 7, c: 1 })])],
  ["a report before joining", Buffer.concat([HELLO, frame({ t: "observed", id: 1, observations: [] })])],
  [
    "another id after joining",
    Buffer.concat([HELLO, JOINED, frame({ t: "facts", facts: factsOf("host_a") })]),
  ],
  ["a header longer than its frame", Buffer.from([0, 0, 0, 8, 0, 0, 1, 0, 1, 2, 3, 4])],
];

function faults(factory: LinkFactory): void {
  test("an unknown version is refused by name", async () => {
    await linked(factory, {}, async ({ control }) => {
      if (!control.raw) return;
      const answer = await control.raw(frame({ t: "hello", v: 2, new: "members" }));
      expect(answer.subarray(8).toString()).toContain("link.version-unknown");
    });
  });

  test.each(MALFORMED)("%s ends its connection and not the process (B)", async (_name, bytes) => {
    await linked(factory, {}, async ({ control, link, host }) => {
      if (!control.raw) return;
      // Resolves only when the other side has closed.
      await control.raw(bytes);
      await host.report([running(1)]);
      expect(link.hosts().map((facts) => facts.hostId)).toEqual(["host_a"]);
    });
  });
}
