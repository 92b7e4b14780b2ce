// SPDX-License-Identifier: Apache-2.0
/** Updates against BIND, the server that most operators run, and signatures against `nsupdate`'s. */

import { execFile } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { expect, it, test } from "vitest";
import { bind, startBind as startBindOf } from "#testing/bind.ts";
import { freePort } from "#testing/free-port.ts";
import { describeWith } from "#testing/requirements.ts";
import { openZoneUpdater, type ZoneUpdaterOptions } from "./rfc2136.ts";
import { dig, dnsutils, framed, later, linesOf, statusOf } from "./testing.ts";
import { sign, verifyAnswer } from "./tsig.ts";
import { RCODE, TYPE } from "./wire/codes.ts";
import { requireName } from "./wire/domain-name.ts";
import { parseMessage } from "./wire/reader.ts";
import { MessageWriter } from "./wire/writer.ts";

const ZONE = "dyn.example.test";
const key = { name: "casemate.key", secret: randomBytes(32) };
const weak = { name: "reader.key", secret: randomBytes(32) };

async function startBind(): Promise<number> {
  const { port, stop } = await startBindOf(ZONE, [key, weak]);
  later(stop);
  return port;
}

const open = (port: number, changes: Partial<ZoneUpdaterOptions> = {}) =>
  openZoneUpdater({
    server: { host: "127.0.0.1", port },
    ...{ zone: ZONE, key, ttlSeconds: 30, timeoutMs: 5_000, pauseMs: 10 },
    ...changes,
  });

const answers = async (port: number, name: string, type: string) =>
  linesOf(await dig(port, `${name}.${ZONE}`, type), "ANSWER").sort();

describeWith([bind, dnsutils], "with BIND", () => {
  it("records of every type come, are replaced, and go, each without its neighbours", async () => {
    const port = await startBind();
    const { update } = open(port);
    const four = `a.${ZONE}`;
    expect(
      await update([
        { kind: "add", name: four, data: { type: "A", address: "192.0.2.1" } },
        { kind: "add", name: four, data: { type: "A", address: "192.0.2.2" } },
        { kind: "add", name: four, data: { type: "AAAA", address: "2001:db8::1" } },
        { kind: "add", name: `c.${ZONE}`, data: { type: "CNAME", target: four } },
        { kind: "add", name: `_acme-challenge.a.${ZONE}`, data: { type: "TXT", texts: ["one", 'a "b"'] } },
      ]),
    ).toEqual({ kind: "done" });
    expect(await answers(port, "a", "A")).toEqual([
      `a.${ZONE}. 30 IN A 192.0.2.1`,
      `a.${ZONE}. 30 IN A 192.0.2.2`,
    ]);
    expect(await answers(port, "a", "AAAA")).toEqual([`a.${ZONE}. 30 IN AAAA 2001:db8::1`]);
    expect(await answers(port, "c", "CNAME")).toEqual([`c.${ZONE}. 30 IN CNAME a.${ZONE}.`]);
    expect(await answers(port, "_acme-challenge.a", "TXT")).toEqual([
      `_acme-challenge.a.${ZONE}. 30 IN TXT "one" "a \\"b\\""`,
    ]);

    expect(await update([{ kind: "remove", name: four, data: { type: "A", address: "192.0.2.1" } }])).toEqual(
      { kind: "done" },
    );
    expect(await answers(port, "a", "A")).toEqual([`a.${ZONE}. 30 IN A 192.0.2.2`]);
    // What was lost on the way is sent again: both ways it is no fault.
    expect(await update([{ kind: "remove", name: four, data: { type: "A", address: "192.0.2.1" } }])).toEqual(
      { kind: "done" },
    );
    const moved = [
      {
        kind: "replace" as const,
        name: four,
        type: "A" as const,
        data: [{ type: "A" as const, address: "192.0.2.3" }],
      },
    ];
    for (let times = 0; times < 2; times++) expect(await update(moved)).toEqual({ kind: "done" });
    expect(await answers(port, "a", "A")).toEqual([`a.${ZONE}. 30 IN A 192.0.2.3`]);
    expect(await update([{ kind: "replace", name: four, type: "A", data: [] }])).toEqual({ kind: "done" });
    expect(await answers(port, "a", "A")).toEqual([]);
    expect(await answers(port, "a", "AAAA")).toHaveLength(1);
  });

  it("what the server will not do is told in words, and not tried again", async () => {
    const port = await startBind();
    const add = [
      { kind: "add" as const, name: `a.${ZONE}`, data: { type: "A" as const, address: "192.0.2.1" } },
    ];
    const reasonOf = async (changes: Partial<ZoneUpdaterOptions>) => {
      let looks = 0;
      const now = () => {
        looks += 1;
        return (changes.now ?? (() => Math.floor(Date.now() / 1000)))();
      };
      const outcome = await open(port, { ...changes, now, triesMax: 5 }).update(
        changes.zone === undefined ? add : [{ ...add[0]!, name: `a.${changes.zone}` }],
      );
      // The clock is read to sign and to verify.
      expect([outcome, looks]).toEqual([{ kind: "refused", reason: expect.any(String) }, 2]);
      return outcome.kind === "refused" ? outcome.reason : "";
    };
    expect(await reasonOf({ key: weak })).toMatch(/may not change/);
    expect(await reasonOf({ key: { ...key, secret: randomBytes(32) } })).toMatch(/another secret/);
    expect(await reasonOf({ key: { ...key, name: "nobody.key" } })).toMatch(/does not know this key/);
    expect(await reasonOf({ zone: "other.test" })).toMatch(/not an authority/);
    const hour = () => Math.floor(Date.now() / 1000) + 3600;
    expect(await reasonOf({ now: hour })).toMatch(/clock and ours differ by (3599|3600|3601) seconds/);
    expect(statusOf(await dig(port, `a.${ZONE}`, "A"))).toBe("NXDOMAIN");
  });
});

describeWith([dnsutils], "beside nsupdate", () => {
  it("our message is the one that it sends, to the last octet of the signature", async () => {
    const theirs = await capture(async (port) => {
      const child = execFile("nsupdate", [
        "-v",
        "-y",
        `hmac-sha256:${key.name}:${key.secret.toString("base64")}`,
      ]);
      child.stdin!.end(
        `server 127.0.0.1 ${port}\nzone ${ZONE}\nupdate add a.${ZONE} 30 A 192.0.2.1\nupdate delete b.${ZONE} TXT "x"\nupdate delete c.${ZONE} AAAA\nsend\n`,
      );
      return child;
    });
    const ours = await capture(async (port) => {
      await open(port, { triesMax: 1, timeoutMs: 1_000, now: () => timeOf(theirs) }).update([
        { kind: "add", name: `a.${ZONE}`, data: { type: "A", address: "192.0.2.1" } },
        { kind: "remove", name: `b.${ZONE}`, data: { type: "TXT", texts: ["x"] } },
        { kind: "replace", name: `c.${ZONE}`, type: "AAAA", data: [] },
      ]);
      return null;
    });
    const shape = (bytes: Buffer) => {
      const { flags, questions, authorities, additionals } = parseMessage(bytes, 100);
      const plain = ({ name, type, class: klass, ttl, data }: (typeof authorities)[number]) => [
        name,
        type,
        klass,
        ttl,
        data.toString("hex"),
      ];
      return {
        flags,
        questions,
        authorities: authorities.map(plain),
        additionals: additionals.map(({ name, type, class: klass, ttl }) => [name, type, klass, ttl]),
      };
    };
    expect(shape(ours)).toEqual(shape(theirs));
    // And its signature is what we make of its message at its time.
    const { additionals } = parseMessage(theirs, 100);
    const bare = Buffer.from(theirs.subarray(0, additionals.at(-1)!.at));
    bare.writeUInt16BE(0, 10);
    const again = sign(bare, { name: requireName(key.name), secret: key.secret }, timeOf(theirs));
    expect(again.bytes.toString("hex")).toBe(theirs.toString("hex"));
  });
});

/** A message as it arrives over TCP; the sender gets no answer. */
async function capture(send: (port: number) => Promise<{ kill(): unknown } | null>): Promise<Buffer> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const received = new Promise<Buffer>((resolve) => {
    server.once("connection", (socket: Socket) => {
      let held: Buffer = Buffer.alloc(0);
      socket.on("error", () => {});
      socket.on("data", (part) => {
        held = Buffer.concat([held, part]);
        if (held.length < 2 || held.length < 2 + held.readUInt16BE()) return;
        resolve(held.subarray(2));
        socket.destroy();
      });
    });
  });
  const [bytes, child] = await Promise.all([received, send((server.address() as AddressInfo).port)]);
  child?.kill();
  server.close();
  return bytes;
}

/** The time in a signature: six octets after the algorithm's name. */
const timeOf = (bytes: Buffer) =>
  parseMessage(bytes, 100)
    .additionals.at(-1)!
    .data.readUIntBE("hmac-sha256".length + 2, 6);

const tsigKey = { name: requireName(key.name), secret: key.secret };
const NOW = 1_800_000_000;

/** What a server with the key answers. */
function answerTo(
  request: Buffer,
  requestMac: Buffer,
  { rcode = 0, at = NOW, secret = key.secret, bound = true } = {},
): Buffer {
  const body = new MessageWriter({ compress: false }).finish(request.readUInt16BE(0), 0xa800 | rcode);
  const head = Buffer.alloc(2);
  head.writeUInt16BE(requestMac.length);
  const name = Buffer.from(`\x08casemate\x03key\x00`, "latin1");
  const algorithm = Buffer.from("\x0bhmac-sha256\x00", "latin1");
  const time = Buffer.alloc(8);
  time.writeUIntBE(at, 0, 6);
  time.writeUInt16BE(300, 6);
  const mac = createHmac("sha256", secret)
    .update(bound ? Buffer.concat([head, requestMac]) : Buffer.alloc(0))
    .update(body)
    .update(Buffer.concat([name, Buffer.from([0, 255, 0, 0, 0, 0]), algorithm, time, Buffer.alloc(4)]))
    .digest();
  const data = Buffer.concat([
    algorithm,
    time,
    Buffer.from([0, 32]),
    mac,
    request.subarray(0, 2),
    Buffer.alloc(4),
  ]);
  const record = Buffer.concat([name, Buffer.from([0, 250, 0, 255, 0, 0, 0, 0, 0, data.length]), data]);
  const bytes = Buffer.concat([body, record]);
  bytes.writeUInt16BE(1, 10);
  return bytes;
}

const request = sign(new MessageWriter({ compress: false }).finish(7, 0x2800), tsigKey, NOW);

test("an answer counts when it is signed over our own message, by the key, now", () => {
  const right = answerTo(request.bytes, request.mac);
  expect(verifyAnswer(right, request.mac, tsigKey, NOW + 299)).toEqual({ kind: "verified", rcode: 0 });
  expect(
    verifyAnswer(answerTo(request.bytes, request.mac, { rcode: RCODE.REFUSED }), request.mac, tsigKey, NOW),
  ).toEqual({
    kind: "verified",
    rcode: RCODE.REFUSED,
  });
  const unsigned = new MessageWriter({ compress: false }).finish(7, 0xa800);
  for (const [what, bytes, at] of [
    ["of another time", right, NOW + 301],
    ["with another secret", answerTo(request.bytes, request.mac, { secret: randomBytes(32) }), NOW],
    ["to no message of ours", answerTo(request.bytes, request.mac, { bound: false }), NOW],
    ["to another message", answerTo(request.bytes, randomBytes(32)), NOW],
    ["unsigned", unsigned, NOW],
    ["no message at all", Buffer.alloc(30, 0xff), NOW],
  ] as const)
    expect([what, verifyAnswer(bytes, request.mac, tsigKey, at).kind]).toEqual([what, "forged"]);
  // No octet of it can be another one; its id may, as forwarders change that.
  for (let at = 2; at < right.length; at++) {
    const changed = Buffer.from(right);
    changed[at]! ^= 1;
    expect([at, verifyAnswer(changed, request.mac, tsigKey, NOW).kind]).not.toEqual([at, "verified"]);
  }
});

test("who answers without the key is not believed, and an answer that was lost is asked for again", async () => {
  let tries = 0;
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (part) => {
      tries += 1;
      const bytes = part.subarray(2);
      if (tries === 1) return socket.destroy();
      if (tries === 2)
        return socket.end(
          framed(new MessageWriter({ compress: false }).finish(bytes.readUInt16BE(0), 0xa800)),
        );
      const { mac } = sign(unsignedOf(bytes), tsigKey, NOW);
      socket.end(framed(answerTo(bytes, mac, tries === 3 ? { rcode: RCODE.SERVFAIL } : {})));
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  later(() => server.close());
  const { port } = server.address() as AddressInfo;
  const add = [
    { kind: "add" as const, name: `a.${ZONE}`, data: { type: "A" as const, address: "192.0.2.1" } },
  ];
  const options = { now: () => NOW, timeoutMs: 2_000 };
  expect(await open(port, { ...options, triesMax: 2 }).update(add)).toEqual({
    kind: "unknown",
    reason: "the answer is not the server's: an answer without a signature",
  });
  expect(await open(port, { ...options, triesMax: 2 }).update(add)).toEqual({ kind: "done" });
  expect(tries).toBe(4);
});

test("a server that is silent or away is told apart from one that refuses", async () => {
  const silent = createServer(() => {}).listen(0, "127.0.0.1");
  await once(silent, "listening");
  later(() => silent.close());
  const { port } = silent.address() as AddressInfo;
  const remove = [{ kind: "replace" as const, name: `a.${ZONE}`, type: "A" as const, data: [] }];
  const slow = await open(port, { timeoutMs: 100, triesMax: 2 }).update(remove);
  expect(slow).toEqual({
    kind: "unknown",
    reason: "the name server did not answer: no answer within 100 ms",
  });
  const away = await open(await freePort(), { triesMax: 2 }).update(remove);
  expect(away).toEqual({ kind: "unknown", reason: "the name server did not answer: ECONNREFUSED" });
});

test("what cannot be right is not sent", async () => {
  const { update } = open(1);
  const address = { type: "A" as const, address: "192.0.2.1" };
  await expect(update([{ kind: "add", name: "a.other.test", data: address }])).rejects.toThrow(
    "not in the zone",
  );
  await expect(update([{ kind: "add", name: `a b.${ZONE}`, data: address }])).rejects.toThrow(
    "not a domain name",
  );
  await expect(
    update([{ kind: "add", name: `a.${ZONE}`, data: { type: "AAAA", address: "192.0.2.1" } }]),
  ).rejects.toThrow();
  await expect(
    update([{ kind: "replace", name: `a.${ZONE}`, type: "TXT", data: [address] }]),
  ).rejects.toThrow("another type");
  expect(() => open(1, { key: { name: "k", secret: Buffer.alloc(8) } })).toThrow("octets");
});

/** The message before its signature, as the server computes the request's MAC. */
function unsignedOf(bytes: Buffer): Buffer {
  const { additionals } = parseMessage(bytes, 100);
  const last = additionals.at(-1)!;
  expect(last.type).toBe(TYPE.TSIG);
  const bare = Buffer.from(bytes.subarray(0, last.at));
  bare.writeUInt16BE(0, 10);
  return bare;
}
