// SPDX-License-Identifier: Apache-2.0
/** Streams: order, credit, ends, and what a lost link does to them. */
import { createHash, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { CHUNK_MAX, CREDIT_BYTES, type LinkStream } from "../port.ts";
import { type LinkFactory, linked, REQUEST } from "./pair.ts";

export function streams(factory: LinkFactory): void {
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
