// SPDX-License-Identifier: Apache-2.0
/** What strangers can send, and what they can have us send to others. */

import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { cpuMs } from "#testing/cpu-time.ts";
import { AnswerRate } from "./answer-rate.ts";
import { readQuery } from "./query.ts";
import { AMPLIFICATION_MAX } from "./respond.ts";
import { asked, framed, overTcp, overUdp, queryBytes, serve } from "./testing.ts";
import { CLASS, FLAG, RCODE, TYPE } from "./wire/codes.ts";
import { LABEL_BYTES_MAX, NAME_BYTES_MAX, wireLength } from "./wire/domain-name.ts";
import { MalformedMessage, parseMessage, rcodeOf } from "./wire/reader.ts";
import { MessageWriter } from "./wire/writer.ts";

const A = queryBytes("a.apps.example.test", TYPE.A);
const name = fc
  .array(fc.string({ unit: "binary", minLength: 1, maxLength: LABEL_BYTES_MAX }).map(toLatin1), {
    maxLength: 8,
  })
  .filter((labels) => labels.every((label) => label.length > 0) && wireLength(labels) <= NAME_BYTES_MAX);
function toLatin1(text: string) {
  return Buffer.from(text).subarray(0, LABEL_BYTES_MAX).toString("latin1");
}

describe("the reader", () => {
  it("reads what the writer wrote, with and without compression, whatever octets the names have", () => {
    fc.assert(
      fc.property(fc.array(name, { minLength: 1, maxLength: 6 }), fc.boolean(), (names, compress) => {
        const writer = new MessageWriter({ compress });
        for (const each of names) writer.question({ name: each, type: TYPE.A, class: CLASS.IN });
        for (const each of names)
          writer.record(1, { name: each, ttlSeconds: 2 ** 32 - 1, data: { type: "TXT", texts: ["x"] } });
        const { id, questions, answers } = parseMessage(writer.finish(7, 0), 100);
        expect(id).toBe(7);
        expect(questions.map((each) => each.name)).toEqual(names);
        expect(answers.map((each) => each.name)).toEqual(names);
        expect(
          answers.every(({ ttl, data }) => ttl === 2 ** 32 - 1 && data.equals(Buffer.from("\x01x"))),
        ).toBe(true);
      }),
    );
  });

  it("makes of any bytes a message or MalformedMessage, at once", () => {
    const mutated = fc
      .tuple(
        fc.constantFrom(A, compressed()),
        fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 12 }),
        fc.nat(200),
      )
      .map(([bytes, changes, cut]) => {
        const copy = Buffer.from(bytes);
        for (const [at, value] of changes) copy[at % copy.length] = value;
        return cut < 100 ? copy.subarray(0, cut) : copy;
      });
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 1500 }).map((each) => Buffer.from(each)),
      mutated,
    );
    fc.assert(
      fc.property(bytes, (each) => {
        const cost = cpuMs(() => {
          readQuery(each);
          try {
            const { questions, answers, additionals } = parseMessage(each, 1000);
            for (const { name: labels } of [...questions, ...answers, ...additionals])
              expect(wireLength(labels)).toBeLessThanOrEqual(NAME_BYTES_MAX);
          } catch (error) {
            expect(error).toBeInstanceOf(MalformedMessage);
          }
        });
        expect(cost).toBeLessThan(1_000);
      }),
      { numRuns: 3_000 },
    );
  });

  it.each([
    ["to itself", [0xc0, 12]],
    ["forward", [0xc0, 40]],
    ["into the header, round and round", [1, 97, 0xc0, 12]],
    ["with one octet", [0xc0]],
    ["of an unknown kind", [0x80, 1, 0]],
    ["of a label that ends after the message", [63, 97]],
  ])("refuses a pointer %s", (_what, octets) => {
    const header = Buffer.from([0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    expect(() =>
      parseMessage(Buffer.concat([header, Buffer.from(octets), Buffer.from([0, 1, 0, 1])]), 10),
    ).toThrow(MalformedMessage);
  });

  it("refuses a name that is longer than names are, also when it is put together from pieces", () => {
    const label = [63, ...Buffer.alloc(63, 97)];
    // Three labels and the root, then a fourth that points back to them: 257 octets.
    const pieces = [...label, ...label, ...label, 0, 0, 1, 0, 1, ...label, 0xc0, 12, 0, 1, 0, 1];
    const questions = (count: number) => Buffer.from([0, 1, 0, 0, 0, count, 0, 0, 0, 0, 0, 0, ...pieces]);
    expect(() => parseMessage(questions(2), 10)).toThrow("too long");
    expect(() => parseMessage(questions(1), 10)).toThrow("after the last");
  });

  it("does not believe a count of records", () => {
    const bytes = Buffer.alloc(12);
    bytes.fill(0xff, 4);
    expect(() => parseMessage(bytes, 1000)).toThrow("too many records");
  });
});

describe("bad packets", () => {
  const edns = { udpBytesMax: 1232 };
  const twice = (() => {
    const writer = new MessageWriter({ compress: false });
    for (let n = 0; n < 2; n++) writer.question({ name: ["a"], type: TYPE.A, class: CLASS.IN });
    return writer.finish(0x1234, 0);
  })();
  const withRecords = (section: 1 | 3, type: number, count: number) => {
    const writer = new MessageWriter({ compress: false });
    writer.question({ name: ["a", "apps", "example", "test"], type: TYPE.A, class: CLASS.IN });
    for (let n = 0; n < count; n++) writer.raw(section, { name: [], type, class: 1232, ttl: 0 }, () => {});
    return writer.finish(0x1234, 0);
  };

  it.each([
    ["a header alone", A.subarray(0, 12), RCODE.FORMERR],
    ["half a question", A.subarray(0, 20), RCODE.FORMERR],
    ["bytes after the end", Buffer.concat([A, Buffer.from([0])]), RCODE.FORMERR],
    ["two questions", twice, RCODE.FORMERR],
    ["an answer in the question", withRecords(1, TYPE.A, 1), RCODE.FORMERR],
    ["two OPT records", withRecords(3, TYPE.OPT, 2), RCODE.FORMERR],
    ["more records than a question has", withRecords(3, 9999, 12), RCODE.FORMERR],
    [
      "options that do not end",
      queryBytes("a.apps.example.test", 1, { edns: { ...edns, data: Buffer.from([0, 10, 0, 9]) } }),
      RCODE.FORMERR,
    ],
    ["a signature", withRecords(3, TYPE.TSIG, 1), RCODE.NOTAUTH],
    ["a question for OPT", queryBytes("a.apps.example.test", TYPE.OPT), RCODE.FORMERR],
    ["a class that is not the internet's", queryBytes("a.apps.example.test", 1, { class: 3 }), RCODE.REFUSED],
  ])("are answered with their fault: %s", async (_what, bytes, rcode) => {
    const { port } = await serve();
    const { id, flags, answers } = await asked(port, bytes);
    expect([id, rcodeOf(flags), answers, (flags & FLAG.QR) !== 0]).toEqual([0x1234, rcode, [], true]);
  });

  it.each([
    ["too short to be answered", Buffer.alloc(11)],
    ["empty", Buffer.alloc(0)],
    ["answers themselves", queryBytes("a.apps.example.test", TYPE.A, { flags: FLAG.QR })],
  ])("are met with silence when they are %s", async (_what, bytes) => {
    const { port } = await serve();
    expect(await overUdp(port, bytes)).toBeNull();
  });

  it("of any kind leave the server answering, over UDP and TCP", async () => {
    const faults: unknown[] = [];
    const { port } = await serve({ log: (event, facts) => faults.push([event, facts]) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 600 }), { maxLength: 8 }),
        fc.boolean(),
        async (packets, frame) => {
          const bytes = packets.map((each) => Buffer.from(each));
          for (const each of bytes) await overUdp(port, each, 1);
          await overTcp(port, Buffer.concat(frame ? bytes.map(framed) : bytes));
          expect((await asked(port, A)).answers).toHaveLength(1);
        },
      ),
      { numRuns: 60 },
    );
    expect(faults).toEqual([]);
  });
});

describe("who sends under a victim's address", () => {
  it("never gets the victim more than a few times what was sent, nor more than one packet", async () => {
    const { port } = await serve();
    const names = ["large", "a", "nobody", "alias", "round", ""].map((each) =>
      `${each}.apps.example.test`.replace(/^\./, ""),
    );
    for (const each of names)
      for (const type of [TYPE.A, TYPE.TXT, TYPE.NS, TYPE.SOA, TYPE.ANY, TYPE.AXFR])
        for (const udpBytesMax of [0, 512, 65_535]) {
          const query = queryBytes(each, type, { edns: { udpBytesMax } });
          const answer = (await overUdp(port, query, 3_000))!;
          expect(answer.length).toBeLessThanOrEqual(Math.min(1232, Math.max(512, udpBytesMax)));
          expect(answer.length + 28).toBeLessThanOrEqual(AMPLIFICATION_MAX * (query.length + 28));
        }
  });

  it('gets the victim "come over TCP" instead, where the answer is large for its question or for a packet', async () => {
    const text = (lengthBytes: number) => async () =>
      Array.from({ length: lengthBytes / 100 }, () => ({ type: "TXT" as const, texts: ["x".repeat(87)] }));
    const short = queryBytes("m.apps.example.test", TYPE.TXT, { edns: { udpBytesMax: 4096 } });
    const long = queryBytes(
      `${"l".repeat(63)}.${"m".repeat(63)}.${"n".repeat(63)}.apps.example.test`,
      TYPE.TXT,
      {
        edns: { udpBytesMax: 4096 },
      },
    );
    for (const [query, answerBytes, truncated] of [
      [short, 300, false],
      [short, 900, true],
      [long, 900, false],
      [long, 1_300, true],
    ] as const) {
      const { port } = await serve({ lookup: text(answerBytes) });
      const { flags, answers } = await asked(port, query);
      expect([answerBytes, (flags & FLAG.TC) !== 0, answers.length > 0]).toEqual([
        answerBytes,
        truncated,
        !truncated,
      ]);
    }
  });

  it("is cut off soon, while the victim itself still gets through over TCP", async () => {
    const { port } = await serve({ limits: { perSecond: 1, burst: 5 } });
    const answers = await Promise.all(Array.from({ length: 60 }, () => overUdp(port, A, 1_000)));
    const got = answers.filter((each) => each !== null).map((each) => parseMessage(each, 10));
    expect(got.filter((each) => each.answers.length > 0).length).toBeLessThanOrEqual(7);
    const short = got.filter((each) => each.answers.length === 0);
    expect(short.every(({ flags }) => (flags & FLAG.TC) !== 0)).toBe(true);
    expect(short.length).toBeGreaterThan(15);
    expect(short.length).toBeLessThan(35);
    expect(answers.filter((each) => each !== null).every((each) => each.length <= A.length + 16)).toBe(true);
    expect(parseMessage((await overTcp(port, framed(A))).subarray(2), 10).answers).toHaveLength(1);
  });

  it("is counted by the victim's network, and nobody else's", () => {
    const rate = new AnswerRate({ perSecond: 10, burst: 2, networksMax: 100 });
    const flood = (address: string) => Array.from({ length: 6 }, () => rate.take(address, 0));
    expect(flood("192.0.2.1")).toEqual(["answer", "answer", "truncate", "drop", "truncate", "drop"]);
    expect(rate.take("192.0.2.250", 0)).toBe("truncate");
    expect(rate.take("::ffff:192.0.2.7", 0)).toBe("drop");
    expect(rate.take("192.0.3.1", 0)).toBe("answer");
    flood("2001:db8:0:100::1");
    expect(rate.take("2001:db8:0:1ff::9", 0)).not.toBe("answer");
    expect(rate.take("2001:db8:0:200::9", 0)).toBe("answer");
    // A tenth of a second is one answer at ten a second.
    expect([rate.take("192.0.2.1", 100), rate.take("192.0.2.1", 100)]).toEqual(["answer", "truncate"]);
  });

  it("cannot make us remember more networks than we mean to", () => {
    const rate = new AnswerRate({ perSecond: 0, burst: 1, networksMax: 3 });
    for (let n = 0; n < 10; n++) rate.take(`192.0.${n}.1`, 0);
    // The last three are remembered as spent, an older one is new again.
    expect(rate.take("192.0.9.1", 0)).toBe("truncate");
    expect(rate.take("192.0.2.1", 0)).toBe("answer");
  });
});

describe("over TCP", () => {
  const endsWithin = async (port: number, bytes: Buffer, ms: number) => {
    const began = performance.now();
    const got = await overTcp(port, bytes, false);
    expect(performance.now() - began).toBeLessThan(ms);
    return got;
  };

  it("questions sent in one go are answered in their order", async () => {
    const { port } = await serve();
    const queries = [1, 2, 3].map((id) => {
      const bytes = Buffer.from(A);
      bytes.writeUInt16BE(id);
      return framed(bytes);
    });
    const got = await overTcp(port, Buffer.concat(queries));
    const ids: number[] = [];
    for (let at = 0; at < got.length; at += 2 + got.readUInt16BE(at)) ids.push(got.readUInt16BE(at + 2));
    expect(ids).toEqual([1, 2, 3]);
  });

  it("a client that says nothing, half a question, or a question without end is dropped", async () => {
    const { port } = await serve({ limits: { idleMs: 150 } });
    for (const bytes of [Buffer.alloc(0), framed(A).subarray(0, 9), Buffer.from([0xff, 0xff, 1, 2])])
      expect(await endsWithin(port, bytes, 9_000)).toHaveLength(0);
  });

  it("a client that dribbles is dropped all the same", async () => {
    const { port } = await serve({ limits: { idleMs: 5_000, lifetimeMs: 300 } });
    const socket = connect(port, "127.0.0.1").on("error", () => {});
    const dribble = setInterval(() => socket.write(Buffer.alloc(1)), 40);
    const began = performance.now();
    socket.resume();
    await once(socket, "close");
    clearInterval(dribble);
    expect(performance.now() - began).toBeLessThan(9_000);
  });

  it("a connection has an end however many questions it asks", async () => {
    const { port } = await serve({ limits: { questionsMax: 3 } });
    const got = await endsWithin(port, Buffer.concat(Array.from({ length: 3 }, () => framed(A))), 9_000);
    expect(got.length).toBe(3 * (2 + got.readUInt16BE()));
  });

  it("a client that asks and does not read is not read either", async () => {
    let lookups = 0;
    const { port } = await serve({
      lookup: async () => {
        lookups += 1;
        return Array.from({ length: 100 }, () => ({ type: "TXT" as const, texts: ["x".repeat(255)] }));
      },
      limits: { idleMs: 1_000, questionsMax: 1e6 },
    });
    const socket = connect(port, "127.0.0.1").on("error", () => {});
    socket.pause();
    const query = framed(queryBytes("a.apps.example.test", TYPE.TXT));
    socket.write(Buffer.concat(Array.from({ length: 20_000 }, () => query)));
    let before = -1;
    // Until it comes to rest: both buffers of the connection are full, and then it is ended.
    while (lookups > before || lookups === 0) {
      before = lookups;
      await sleep(500);
    }
    socket.destroy();
    expect(lookups).toBeGreaterThan(0);
    expect(lookups).toBeLessThan(2_000);
  });

  it("who holds connections open keeps nobody out", async () => {
    const { port } = await serve({ limits: { connectionsMax: 4, connectionsPerNetworkMax: 4 } });
    const held = Array.from({ length: 8 }, () => connect(port, "127.0.0.1").on("error", () => {}));
    await Promise.all(held.map((socket) => once(socket, "connect")));
    expect(parseMessage((await overTcp(port, framed(A))).subarray(2), 10).answers).toHaveLength(1);
    // The oldest had to go; the rest may stay.
    for (const socket of held.slice(0, 5)) if (!socket.closed) await once(socket.resume(), "close");
    expect(held.filter((socket) => !socket.closed).length).toBeGreaterThan(0);
    for (const socket of held) socket.destroy();
  });
});

test("closing ends held connections and returns", async () => {
  const server = await serve();
  const socket = connect(server.port, "127.0.0.1").on("error", () => {});
  await once(socket, "connect");
  const ended = once(socket, "close");
  socket.resume();
  await server.close();
  await ended;
});

function compressed(): Buffer {
  const writer = new MessageWriter({ compress: true });
  for (const labels of [["a", "b", "c"], ["x", "b", "c"], ["c"]]) {
    writer.record(1, { name: labels, ttlSeconds: 1, data: { type: "CNAME", target: ["a", "b", "c"] } });
  }
  return writer.finish(1, 0);
}
