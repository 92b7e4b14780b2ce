// SPDX-License-Identifier: Apache-2.0
/** Answers that a machine may send, bad ones first; then generated ones, beside Node's own parser. */
import { type IncomingMessage, request } from "node:http";
import { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import { cpuMs } from "#testing/cpu-time.ts";
import { AnswerFault, type AnswerHead, AnswerParser } from "./answer.ts";

interface Read {
  interim: number[];
  head: Omit<AnswerHead, "chunked"> | null;
  body: string;
  trailers: string[];
  done: boolean;
  reusable: boolean;
  /** Bytes up to the answer's end. */
  taken: number;
}

/** Null: refused. `cuts` are where the bytes come in pieces; at the end the machine ends its side. */
function read(bytes: Buffer, cuts: readonly number[] = [], bodiless = false): Read | null {
  const seen: Read = {
    ...{ interim: [], head: null, body: "", trailers: [], done: false, reusable: false, taken: 0 },
  };
  let ends = 0;
  const parser = new AnswerParser(
    {
      onInterim: ({ status }) => void seen.interim.push(status),
      onHead: ({ status, reason, fields }) => {
        expect(seen.head).toBeNull();
        seen.head = { status, reason, fields };
      },
      onBody: (part) => {
        seen.body += part.toString("latin1");
      },
      onEnd: (trailers) => {
        ends++;
        seen.trailers = trailers;
      },
    },
    bodiless,
  );
  try {
    let from = 0;
    for (const to of [...cuts, bytes.length]) {
      if (!parser.done) seen.taken = to;
      parser.read(bytes.subarray(from, to));
      from = to;
    }
    seen.reusable = parser.reusable;
    seen.done = parser.end();
  } catch (error) {
    expect(error).toBeInstanceOf(AnswerFault);
    return null;
  }
  expect(ends).toBe(seen.done ? 1 : 0);
  return seen;
}

const everyByte = (bytes: Buffer) => Array.from({ length: Math.max(0, bytes.length - 1) }, (_, at) => at + 1);
const text = (value: string) => Buffer.from(value, "latin1");
const OK = "HTTP/1.1 200 OK\r\n";

test.each([
  ["two lengths", `${OK}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`],
  ["a list of lengths", `${OK}Content-Length: 1, 1\r\n\r\na`],
  ["a signed length", `${OK}Content-Length: +1\r\n\r\na`],
  ["a length in hex", `${OK}Content-Length: 0x1\r\n\r\na`],
  ["an empty length", `${OK}Content-Length:\r\n\r\n`],
  ["a length beyond counting", `${OK}Content-Length: 99999999999999999999\r\n\r\na`],
  ["a length and chunks", `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ["another coding", `${OK}Transfer-Encoding: gzip\r\n\r\na`],
  ["a coding before chunked", `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  ["chunked twice", `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ["chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["a folded line", `${OK}X-A: a\r\n b\r\n\r\n`],
  ["a space before a colon", `${OK}Content-Length : 1\r\n\r\na`],
  ["a name that is no token", `${OK}X{}: b\r\n\r\n`],
  ["no name", `${OK}: b\r\n\r\n`],
  ["a line without a colon", `${OK}X-A\r\n\r\n`],
  ["a null in a value", `${OK}X-A: b\0c\r\n\r\n`],
  ["a bare carriage return", `${OK}X-A: b\rX-B: c\r\n\r\n`],
  ["a bare line feed", `${OK}X-A: b\nX-B: c\r\n\r\n`],
  ["bare line feeds all over", "HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n"],
  ["an interim answer of HTTP/1.0", `HTTP/1.0 103 E\r\n\r\n${OK}Content-Length: 0\r\n\r\n`],
  ["another version", "HTTP/2.0 200 OK\r\n\r\n"],
  ["no version", "200 OK\r\n\r\n"],
  ["a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"],
  ["a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"],
  ["an empty line first", `\r\n${OK}\r\n`],
  ["a tunnel", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
  ["a chunk size that is none", `${OK}Transfer-Encoding: chunked\r\n\r\nzz\r\n`],
  ["an empty chunk size", `${OK}Transfer-Encoding: chunked\r\n\r\n\r\n`],
  ["a signed chunk size", `${OK}Transfer-Encoding: chunked\r\n\r\n-1\r\n`],
  ["a chunk size beyond counting", `${OK}Transfer-Encoding: chunked\r\n\r\n1000000000000000\r\n`],
  ["a chunk size with a bare line feed", `${OK}Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n`],
  ["a chunk longer than it says", `${OK}Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n`],
  ["a folded trailer", `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: a\r\n b\r\n\r\n`],
  ["a head without end", `${OK}X-A: ${"a".repeat(66_000)}`],
  ["a head that is too large", `${OK}X-A: ${"a".repeat(66_000)}\r\n\r\n`],
  ["a chunk's line without end", `${OK}Transfer-Encoding: chunked\r\n\r\n1;${"a".repeat(2_000)}`],
  ["trailers without end", `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: ${"a".repeat(66_000)}`],
])("%s: refused, in one piece and in many", (_what, value) => {
  const bytes = text(value);
  expect(read(bytes)).toBeNull();
  expect(read(bytes, everyByte(bytes))).toBeNull();
});

test.each([
  ["half a head", `${OK}X-A`],
  ["half a body", `${OK}Content-Length: 5\r\n\r\nabc`],
  ["half a chunk", `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nabc`],
  ["no last chunk", `${OK}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`],
  ["no end of the trailers", `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n`],
  ["nothing", ""],
  ["nothing after 100", "HTTP/1.1 100 Continue\r\n\r\n"],
])("%s, and the connection ended: not whole", (_what, value) => {
  const bytes = text(value);
  for (const cuts of [[], everyByte(bytes)]) expect(read(bytes, cuts)?.done).toBe(false);
});

test.each([
  ["a length", `${OK}Content-Length: 3\r\n\r\nabc`, "abc", true],
  ["no body", `${OK}Content-Length: 0\r\n\r\n`, "", true],
  [
    "chunks",
    `${OK}Transfer-Encoding: Chunked\r\n\r\n3;x="y"\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n`,
    "abc0123456789",
    true,
  ],
  ["until the end", `${OK}\r\nabc`, "abc", false],
  ["204", "HTTP/1.1 204 No\r\n\r\n", "", true],
  ["304 with a length", "HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n", "", true],
  ["a closing one", `${OK}Content-Length: 3\r\nConnection: x, Close\r\n\r\nabc`, "abc", false],
  ["HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", false],
  [
    "HTTP/1.0 that stays",
    "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: Keep-Alive\r\n\r\nabc",
    "abc",
    true,
  ],
  [
    "interim ones before",
    `HTTP/1.1 103 E\r\nLink: <a>\r\n\r\nHTTP/1.1 100 C\r\n\r\n${OK}Content-Length: 1\r\n\r\na`,
    "a",
    true,
  ],
  ["more than was asked", `${OK}Content-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\n\r\n`, "a", false],
])("%s: read, in one piece and in many", (_what, value, body, reusable) => {
  const bytes = text(value);
  for (const cuts of [[], everyByte(bytes)])
    expect(read(bytes, cuts)).toMatchObject({ body, reusable, done: true });
});

test("the answer to HEAD has no body, whatever it says", () => {
  for (const field of ["Content-Length: 9", "Transfer-Encoding: chunked"])
    expect(read(text(`${OK}${field}\r\n\r\n`), [], true)).toMatchObject({
      done: true,
      reusable: true,
      body: "",
    });
});

test("blanks around a value go, those within stay, and a long run of them costs nothing", () => {
  expect(read(text(`${OK}X-A: \t a  b\xa0\t \r\n\r\n`))?.head?.fields).toEqual(["X-A", "a  b\xa0"]);
  const cost = cpuMs(() => {
    for (const ends of ["x", "\0"])
      read(text(`${OK}Connection: ${" ".repeat(60_000)}${ends}${" ,".repeat(999)}\r\n\r\n`));
  });
  expect(cost).toBeLessThan(500);
});

/** What Node's client makes of the same bytes; null when it refuses, or when they are not whole. */
function nodesReading(bytes: Buffer): Promise<Pick<Read, "head" | "body" | "trailers"> | null> {
  const wire = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  return new Promise((resolve) => {
    const outgoing = request({ createConnection: () => wire as never, insecureHTTPParser: false });
    outgoing.on("error", () => resolve(null)).on("upgrade", () => resolve(null));
    outgoing.on("response", (incoming: IncomingMessage) => {
      let body = "";
      incoming.setEncoding("latin1").on("data", (part: string) => {
        body += part;
      });
      incoming.on("error", () => resolve(null));
      incoming.on("close", () => {
        const { statusCode, statusMessage, rawHeaders, rawTrailers } = incoming;
        const head = { status: statusCode!, reason: statusMessage!, fields: rawHeaders };
        resolve(incoming.complete ? { head, body, trailers: rawTrailers } : null);
      });
    });
    outgoing.end();
    wire.push(bytes);
    wire.push(null);
  });
}

describe("generated answers", () => {
  const seed = Number(process.env.CASEMATE_SEED ?? Math.floor(Math.random() * 2 ** 31));
  let state = seed;
  const below = (limit: number) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return (state >>> 8) % limit;
  };
  const oneOf = <T>(list: readonly T[]): T => list[below(list.length)]!;
  const FIELDS = [
    ...[
      "X-A: b",
      "x-a:b",
      "X-A:",
      "X-A: \t b \t",
      "X-A: \xe9",
      "Connection: close",
      "Connection: keep-alive",
    ],
    ...[
      "Content-Length: 3",
      "Content-Length: 0",
      "content-length: 3 ",
      "Content-Length: 03",
      "Content-Length: 3,3",
    ],
    ...["Transfer-Encoding: chunked", "Transfer-Encoding: chunked ", "Transfer-Encoding: identity"],
    ...[
      "Transfer-Encoding : chunked",
      " X-A: b",
      "X-A",
      "X\x7f: b",
      "X-A: \x01",
      "Upgrade: x",
      "Trailer: X-T",
    ],
  ];
  const BODIES = [
    ...[
      "abc",
      "",
      "3\r\nabc\r\n0\r\n\r\n",
      "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
      "03;a=b\r\nabc\r\n0\r\n\r\n",
      '3;a;b="c d"\r\nabc\r\n0;e\r\n\r\n',
      ...["3;\xff=b\r\nabc\r\n0\r\n\r\n", "3; a\r\nabc\r\n0\r\n\r\n", '3;a="\r\nabc\r\n0\r\n\r\n'],
      "0\r\n\r\n",
    ],
    ...[
      "3 \r\nabc\r\n0\r\n\r\n",
      "3\nabc\n0\n\n",
      "3\r\nabcd\r\n0\r\n\r\n",
      "-3\r\nabc\r\n0\r\n\r\n",
      "3\r\nabc\r\n00\r\n\r\n",
    ],
  ];
  const STATUS = [
    ...[
      OK,
      OK,
      OK,
      OK,
      "HTTP/1.0 200 OK\r\n",
      "HTTP/1.1 204 No\r\n",
      "HTTP/1.1 304\r\n",
      "HTTP/1.1 200 \r\n",
    ],
    ...[
      "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\n",
      "HTTP/1.1 101 S\r\n",
      "HTTP/1.1  200 OK\r\n",
      "http/1.1 200 OK\r\n",
    ],
  ];
  const NOISE = ["\r", "\n", "\0", " ", "\t", ":", "\r\n", "0", ",", "\xff", "chunked", "a"];

  function generate(): Buffer {
    const fields = Array.from({ length: below(4) }, () => `${oneOf(FIELDS)}\r\n`).join("");
    let value = `${oneOf(STATUS)}${fields}\r\n${oneOf(BODIES)}`;
    for (let times = below(3) === 0 ? 1 + below(2) : 0; times > 0; times--) {
      const at = below(value.length + 1);
      value = value.slice(0, at) + (below(3) === 0 ? "" : oneOf(NOISE)) + value.slice(at + below(2));
    }
    return text(value);
  }

  test(`what is read here, Node reads alike; and pieces change nothing (seed ${seed})`, async () => {
    let accepted = 0;
    for (let times = 0; times < 6_000; times++) {
      const bytes = generate();
      const whole = read(bytes, everyByte(bytes));
      const cuts = everyByte(bytes).filter(() => below(4) === 0);
      const { taken: _, ...pieces } = read(bytes, cuts) ?? {};
      const { taken: __, ...bytewise } = whole ?? {};
      expect([bytes.toString("latin1"), pieces]).toEqual([bytes.toString("latin1"), bytewise]);
      if (whole?.done !== true) continue;
      accepted++;
      const { head, body, trailers } = whole;
      const theirs = await nodesReading(bytes.subarray(0, whole.taken));
      expect([bytes.toString("latin1"), theirs]).toEqual([
        bytes.toString("latin1"),
        { head, body, trailers },
      ]);
    }
    expect(accepted).toBeGreaterThan(500);
  }, 60_000);
});
