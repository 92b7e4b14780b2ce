// SPDX-License-Identifier: Apache-2.0
/**
 * What a user can have us connect to. The name server here is the attacker's: it answers as it likes.
 * 127.0.0.9 stands for the public internet (it is allowed by configuration), 127.0.0.1 for our own
 * services (it is not).
 */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createHttp, type RequestListener } from "node:http";
import { createServer as createHttps } from "node:https";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { addressBytes, isInBlock, isOpen, parseBlock } from "./addresses.ts";
import type { ZoneRecord } from "./answer.ts";
import { type GuardOptions, guardedConnect, guardedLookup, Obstructed, openGuard } from "./guarded-dialer.ts";
import { type GuardedRequest, guardedFetch } from "./guarded-fetch.ts";
import { later, serve, ZONE } from "./testing.ts";

const PUBLIC = "127.0.0.9";
const OURS = "127.0.0.1";
const A = (address: string): ZoneRecord => ({ type: "A", address });
const LIMITS: GuardedRequest = { timeoutMs: 30_000, bodyBytesMax: 1_000 };

/** A guard whose name server gives `answers` in turn, the last one for ever. */
async function guardWith(answers: Record<string, ZoneRecord[][]>, changes: Partial<GuardOptions> = {}) {
  const asked: string[] = [];
  const { port } = await serve({
    lookup: async (name, type) => {
      const turns = answers[name.split(".")[0]!];
      if (turns === undefined || type !== "A")
        return turns === undefined ? null : (turns[0] ?? []).filter((each) => each.type !== "A");
      asked.push(name);
      return turns.length > 1 ? turns.shift()! : turns[0]!;
    },
  });
  const guard = openGuard({
    allow: [PUBLIC],
    resolvers: [`127.0.0.1:${port}`],
    connectMs: 15_000,
    ...changes,
  });
  return { guard, asked };
}

async function listen(server: Server, host: string, port = 0): Promise<number> {
  server.listen(port, host);
  await once(server, "listening");
  later(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}

/** Two servers on one port: the public one, and ours, which nobody must reach. */
async function twoServers(handle: RequestListener) {
  const seen: Socket[] = [];
  const inside = createServer((socket) => {
    seen.push(socket);
    socket.end("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret");
  });
  for (;;) {
    const port = await listen(createHttp(handle), PUBLIC);
    try {
      await listen(inside, OURS, port);
      return { port, seen };
    } catch (error) {
      // What is free at one address need not be at the other.
      if ((error as { code?: string }).code !== "EADDRINUSE") throw error;
    }
  }
}

const obstacle = async (work: Promise<unknown>) =>
  work.then(
    (value) => value,
    (error) => (error instanceof Obstructed ? error.obstacle : error),
  );
const named = (name: string) => `${name}.${ZONE.origin}`;

describe("rebinding", () => {
  it("gets nothing: the address that was checked is the one that is connected to", async () => {
    const { port, seen } = await twoServers((_request, response) => response.end("public"));
    const { guard, asked } = await guardWith({ turncoat: [[A(PUBLIC)], [A(OURS)]] });
    const { body } = await guardedFetch(guard, `http://${named("turncoat")}:${port}/`, LIMITS);
    expect(body.toString()).toBe("public");
    expect(asked).toHaveLength(1);
    // The second answer is the forbidden one: a second resolution would have gone there.
    expect(await obstacle(guardedFetch(guard, `http://${named("turncoat")}:${port}/`, LIMITS))).toBe(
      "forbidden",
    );
    expect(seen).toHaveLength(0);
  });

  it("is noticed on a redirect to the same name", async () => {
    const { port, seen } = await twoServers((request, response) => {
      if (request.url === "/secret") response.end("public");
      else response.writeHead(302, { location: "/secret" }).end();
    });
    const { guard, asked } = await guardWith({ turncoat: [[A(PUBLIC)], [A(OURS)]] });
    expect(await obstacle(guardedFetch(guard, `http://${named("turncoat")}:${port}/`, LIMITS))).toBe(
      "forbidden",
    );
    expect(asked).toHaveLength(2);
    expect(seen).toHaveLength(0);
  });

  it("is noticed in a connection of any protocol", async () => {
    const { port, seen } = await twoServers(() => {});
    const { guard } = await guardWith({ turncoat: [[A(PUBLIC)], [A(OURS)]] });
    const socket = await guardedConnect(guard, { host: named("turncoat"), port });
    expect(socket.remoteAddress).toBe(PUBLIC);
    socket.destroy();
    expect(await obstacle(guardedConnect(guard, { host: named("turncoat"), port }))).toBe("forbidden");
    expect(seen).toHaveLength(0);
  });
});

describe("a name", () => {
  it.each([
    ["of a public and a private address", [A(PUBLIC), A("10.0.0.1")]],
    [
      "of a public address and a private one of the other family",
      [A(PUBLIC), { type: "AAAA", address: "fd00::1" }],
    ],
    ["of loopback", [A(OURS)]],
    ["of the metadata service", [A("169.254.169.254")]],
    ["of loopback written as IPv6", [{ type: "AAAA", address: "::ffff:127.0.0.1" }]],
    ["of a private address behind NAT64", [{ type: "AAAA", address: "64:ff9b::10.0.0.1" }]],
  ] as [string, ZoneRecord[]][])("%s leads nowhere", async (_what, records) => {
    const { guard } = await guardWith({ name: [records] });
    expect(await obstacle(guardedLookup(guard, named("name")))).toBe("forbidden");
  });

  it("without an address, or of nobody, is told apart", async () => {
    const { guard } = await guardWith({ empty: [[]] });
    for (const name of ["empty", "nobody"])
      expect(await obstacle(guardedLookup(guard, named(name)))).toBe("unresolvable");
  });

  it("of an alias is judged by what the alias leads to", async () => {
    const { guard } = await guardWith({
      alias: [[{ type: "CNAME", target: named("inside") }]],
      inside: [[A("192.168.1.1")]],
    });
    expect(await obstacle(guardedLookup(guard, named("alias")))).toBe("forbidden");
  });

  it("that the system resolves to loopback leads nowhere either", async () => {
    const guard = openGuard({ allow: [] });
    for (const name of [
      "localhost",
      "2130706433",
      "0x7f.1",
      "127.1",
      "0",
      "[::1]",
      "[::ffff:7f00:1]",
      "::1%lo",
    ])
      expect([
        name,
        ["forbidden", "unresolvable"].includes(String(await obstacle(guardedLookup(guard, name)))),
      ]).toEqual([name, true]);
    for (const url of [
      "http://2130706433/",
      "http://0x7f.1/",
      "http://0177.0.0.1/",
      "http://[::ffff:127.0.0.1]/",
      "http://①27.0.0.1/",
    ])
      expect([url, await obstacle(guardedFetch(guard, url, LIMITS))]).toEqual([url, "forbidden"]);
  });
});

describe("a redirect", () => {
  it.each([
    "http://127.0.0.1:PORT/",
    "http://[::1]:PORT/",
    "//localhost.localdomain.invalid:PORT/",
    "file:///etc/passwd",
    "http://user:pw@127.0.0.9:PORT/",
    "gopher://127.0.0.9/",
    "http://",
  ])("to %s is not followed", async (location) => {
    const { port, seen } = await twoServers((_request, response) => {
      response.writeHead(302, { location: location.replace("PORT", String(port)) }).end();
    });
    const { guard } = await guardWith({ outside: [[A(PUBLIC)]] });
    expect(["forbidden", "unresolvable"]).toContain(
      await obstacle(guardedFetch(guard, `http://${named("outside")}:${port}/`, LIMITS)),
    );
    expect(seen).toHaveLength(0);
  });

  it("is followed a few times, and not for ever", async () => {
    const { port } = await twoServers((request, response) => {
      const left = Number(request.url!.slice(1));
      if (left === 0) response.end("there");
      else response.writeHead(307, { location: `/${left - 1}` }).end();
    });
    const { guard } = await guardWith({ outside: [[A(PUBLIC)]] });
    const at = (hops: number) => guardedFetch(guard, `http://${named("outside")}:${port}/${hops}`, LIMITS);
    expect((await at(5)).url).toBe(`http://${named("outside")}:${port}/0`);
    expect(await obstacle(at(6))).toBe("too-many-redirects");
  });

  it("takes nothing along that was meant for another origin", async () => {
    const got: (string | undefined)[] = [];
    const { port } = await twoServers((request, response) => {
      got.push(request.headers.authorization, request.headers["x-token"] as string, request.headers.accept);
      if (request.url === "/away")
        response.writeHead(302, { location: `http://${named("other")}:${port}/` }).end();
      else response.end();
    });
    const { guard } = await guardWith({ outside: [[A(PUBLIC)]], other: [[A(PUBLIC)]] });
    const headers = { Authorization: "Bearer x", "X-Token": "y", Accept: "text/plain" };
    await guardedFetch(guard, `http://${named("outside")}:${port}/away`, { ...LIMITS, headers });
    expect(got).toEqual(["Bearer x", "y", "text/plain", undefined, undefined, "text/plain"]);
  });

  it("of what changes something is the caller's to judge", async () => {
    const bodies: string[] = [];
    const { port } = await twoServers(async (request, response) => {
      bodies.push((await request.toArray()).join(""));
      response.writeHead(308, { location: "/again" }).end("moved");
    });
    const { guard } = await guardWith({ outside: [[A(PUBLIC)]] });
    const ask = { ...LIMITS, method: "POST" as const, body: Buffer.from("event") };
    const { status, body } = await guardedFetch(guard, `http://${named("outside")}:${port}/`, ask);
    expect([status, body.toString(), bodies]).toEqual([308, "moved", ["event"]]);
  });
});

describe("a target", () => {
  const ask = async (handle: RequestListener, changes: Partial<GuardedRequest> = {}) => {
    const { port } = await twoServers(handle);
    const { guard } = await guardWith({ outside: [[A(PUBLIC)]] });
    const began = performance.now();
    const result = await obstacle(
      guardedFetch(guard, `http://${named("outside")}:${port}/`, { ...LIMITS, ...changes }),
    );
    return { result, tookMs: performance.now() - began };
  };

  it("that says nothing, dribbles its body, or redirects slowly is left when the time is over", async () => {
    const timers: NodeJS.Timeout[] = [];
    const handles: RequestListener[] = [
      () => {},
      (_request, response) => {
        response.writeHead(200);
        timers.push(setInterval(() => response.write("x"), 30));
      },
      (_request, response) => {
        timers.push(setTimeout(() => response.writeHead(302, { location: "/" }).end(), 150));
      },
    ];
    for (const handle of handles) {
      const { result, tookMs } = await ask(handle, { timeoutMs: 400 });
      expect([result, tookMs < 2_500]).toEqual(["too-slow", true]);
    }
    for (const timer of timers) clearInterval(timer);
  });

  it("that sends more than was asked for is cut off, packed or not", async () => {
    expect((await ask((_request, response) => response.end("x".repeat(1_001)))).result).toBe("too-large");
    const endless: RequestListener = (_request, response) => {
      const more = () => {
        while (!response.destroyed && response.write("x".repeat(10_000)));
      };
      response.on("drain", more);
      more();
    };
    expect((await ask(endless)).result).toBe("too-large");
    let encodings = "";
    await ask((request, response) => {
      encodings = String(request.headers["accept-encoding"]);
      response.end();
    });
    expect(encodings).toBe("identity");
  });

  it("that is not HTTP, ends early, or has endless headers is said to be broken", async () => {
    const raw = async (reply: string) => {
      const port = await listen(
        createServer((socket) => {
          socket.on("error", () => {});
          socket.resume().end(reply);
        }),
        PUBLIC,
      );
      const { guard } = await guardWith({ outside: [[A(PUBLIC)]] });
      return obstacle(guardedFetch(guard, `http://${named("outside")}:${port}/`, LIMITS));
    };
    for (const reply of [
      "",
      "hello\r\n\r\n",
      `HTTP/1.1 200 OK\r\nx: ${"y".repeat(10_000)}\r\n\r\n`,
      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    ])
      expect([reply.slice(0, 30), await raw(reply)]).toEqual([reply.slice(0, 30), "broken"]);
  });

  it("where nothing listens is unreachable, and one that takes no TLS in time too slow", async () => {
    const { guard } = await guardWith({ outside: [[A(PUBLIC)]] }, { connectMs: 300 });
    const closed = createServer();
    const port = await listen(closed, PUBLIC);
    const held: Socket[] = [];
    const silent = await listen(
      createServer((socket) => held.push(socket)),
      PUBLIC,
    );
    await new Promise((resolve) => closed.close(resolve));
    expect(await obstacle(guardedConnect(guard, { host: named("outside"), port }))).toBe("unreachable");
    const began = performance.now();
    expect(
      await obstacle(guardedConnect(guard, { host: named("outside"), port: silent, tls: { alpn: [] } })),
    ).toBe("too-slow");
    expect(performance.now() - began).toBeLessThan(9_000);
    // And its socket is given back.
    for (const socket of held) if (!socket.closed) await once(socket.resume(), "close");
  });

  it("behind TLS is who its name says, or is not spoken to", async () => {
    const { key, cert } = certificateFor(named("secure"));
    const port = await listen(
      createHttps({ key, cert }, (_request, response) => response.end("sealed")),
      PUBLIC,
    );
    const names = { secure: [[A(PUBLIC)]], other: [[A(PUBLIC)]] };
    const { guard } = await guardWith(names, { trust: [cert] });
    const { body } = await guardedFetch(guard, `https://${named("secure")}:${port}/`, LIMITS);
    expect(body.toString()).toBe("sealed");
    expect(await obstacle(guardedFetch(guard, `https://${named("other")}:${port}/`, LIMITS))).toBe(
      "untrusted",
    );
    expect(await obstacle(guardedFetch(guard, `https://${PUBLIC}:${port}/`, LIMITS))).toBe("untrusted");
    const { guard: stranger } = await guardWith(names);
    expect(await obstacle(guardedFetch(stranger, `https://${named("secure")}:${port}/`, LIMITS))).toBe(
      "untrusted",
    );
  });

  it("behind TLS does not redirect us into the clear", async () => {
    const { key, cert } = certificateFor(named("secure"));
    const port = await listen(
      createHttps({ key, cert }, (_request, response) =>
        response.writeHead(302, { location: `http://${named("secure")}/` }).end(),
      ),
      PUBLIC,
    );
    const { guard } = await guardWith({ secure: [[A(PUBLIC)]] }, { trust: [cert] });
    expect(await obstacle(guardedFetch(guard, `https://${named("secure")}:${port}/`, LIMITS))).toBe(
      "forbidden",
    );
  });
});

function certificateFor(name: string): { key: string; cert: string } {
  const folder = mkdtempSync(join(tmpdir(), "casemate-guard-"));
  later(() => rmSync(folder, { recursive: true, force: true }));
  const [key, cert] = [join(folder, "key"), join(folder, "cert")];
  const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
  execFileSync(
    "openssl",
    [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "2",
      "-keyout",
      key,
      "-out",
      cert,
      ...subject,
    ],
    { stdio: "ignore" },
  );
  return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
}

describe("addresses", () => {
  it.each([
    ...["0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.255"],
    ...[
      "169.254.169.254",
      "172.16.0.1",
      "172.31.255.255",
      "192.0.0.8",
      "192.0.2.1",
      "192.168.0.1",
      "198.18.0.1",
    ],
    ...["198.19.255.255", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"],
    ...[
      "::",
      "::1",
      "::127.0.0.1",
      "::ffff:127.0.0.1",
      "::ffff:10.0.0.1",
      "::ffff:a9fe:a9fe",
      "::ffff:0:127.0.0.1",
    ],
    ...[
      "64:ff9b::127.0.0.1",
      "64:ff9b::a00:1",
      "64:ff9b:1::8.8.8.8",
      "100::1",
      "fc00::1",
      "fd12:3456::1",
      "fe80::1",
    ],
    ...[
      "fe80::1%eth0",
      "2606:4700::1%eth0",
      "fec0::1",
      "ff02::1",
      "2001::1",
      "2001:db8::1",
      "2002:7f00:1::",
      "3fff::1",
    ],
    ...["not an address", "", "1.2.3", "1.2.3.4.5", "8.8.8.8/32"],
  ])("%s is closed", (text) => {
    expect(isOpen(text, [])).toBe(false);
  });

  it.each([
    ...["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.167.0.1"],
    ...["223.255.255.255", "2606:4700::1111", "2a00:1450:4001::200e", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"],
  ])("%s is open", (text) => {
    expect(isOpen(text, [])).toBe(true);
  });

  it("of the operator's list are open, however they are written, and no others", () => {
    const allowed = ["10.1.0.0/16", "127.0.0.9", "fd00:1::/32"].map(parseBlock);
    for (const text of ["10.1.255.1", "127.0.0.9", "::ffff:10.1.0.1", "fd00:1:ffff::1"])
      expect(isOpen(text, allowed)).toBe(true);
    for (const text of ["10.2.0.0", "127.0.0.8", "127.0.0.10", "::ffff:10.0.0.1", "fd00:2::1"])
      expect(isOpen(text, allowed)).toBe(false);
    for (const text of ["10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "::/129", "a/8", "10.0.0.0/8/8", ""])
      expect(() => parseBlock(text)).toThrow("block");
  });

  test("are read as the sixteen or four octets that they are", () => {
    const octets = fc.uint8Array({ minLength: 16, maxLength: 16 });
    fc.assert(
      fc.property(octets, fc.nat(128), (bytes, bits) => {
        const groups = Array.from({ length: 8 }, (_, n) =>
          ((bytes[n * 2]! << 8) | bytes[n * 2 + 1]!).toString(16),
        );
        const long = groups.join(":");
        expect(addressBytes(long)).toEqual(Buffer.from(bytes));
        expect(addressBytes(new URL(`http://[${long}]/`).hostname.slice(1, -1))).toEqual(Buffer.from(bytes));
        const dotted = `${groups.slice(0, 6).join(":")}:${[...bytes.subarray(12)].join(".")}`;
        expect(addressBytes(dotted)).toEqual(Buffer.from(bytes));
        const other = Buffer.from(bytes);
        if (bits < 128) other[bits >> 3]! ^= 0x80 >> (bits & 7);
        expect(isInBlock(other, { bytes: Buffer.from(bytes), bits })).toBe(true);
        if (bits < 128) expect(isInBlock(other, { bytes: Buffer.from(bytes), bits: bits + 1 })).toBe(false);
      }),
    );
  });
});
