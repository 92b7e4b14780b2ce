// SPDX-License-Identifier: Apache-2.0
/** Name servers on loopback for the tests of this folder, and the programs that ask them; taken down after each test. */
import { execFile, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import { connect } from "node:net";
import { promisify } from "node:util";
import { afterEach } from "vitest";
import type { Requirement } from "#testing/requirements.ts";
import type { ZoneRecord } from "./answer.ts";
import { type NameServer, type NameServerOptions, startNameServer } from "./name-server.ts";
import { CLASS, FLAG, TYPE } from "./wire/codes.ts";
import { type DomainName, requireName } from "./wire/domain-name.ts";
import { type Message, parseMessage } from "./wire/reader.ts";
import { MessageWriter } from "./wire/writer.ts";
import type { ZoneConfig } from "./zones.ts";

const isThere = (program: string) => spawnSync(program, ["-v"], { stdio: "ignore" }).error === undefined;

export const dnsutils: Requirement = {
  met: isThere("dig") && isThere("nsupdate"),
  reason: "needs dig and nsupdate (apt-get install -y bind9-dnsutils)",
};

const undo: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});
export const later = (step: () => Promise<unknown> | unknown): void => {
  undo.push(step);
};

export const ZONE: ZoneConfig = {
  origin: "apps.example.test",
  nameServers: [
    { name: "ns1.dns.apps.example.test", addresses: ["192.0.2.53", "2001:db8::53"] },
    { name: "ns2.elsewhere.test", addresses: [] },
  ],
  contact: "host.master@example.test",
  ttlSeconds: 60,
  negativeTtlSeconds: 15,
};

/** A zone's content as a table: a name that only has names below it is there with the empty list. */
export const table =
  (names: Record<string, ZoneRecord[]>) =>
  async (name: string): Promise<ZoneRecord[] | null> =>
    names[name] ?? null;

export const NAMES: Record<string, ZoneRecord[]> = {
  "apps.example.test": [],
  "a.apps.example.test": [
    { type: "A", address: "192.0.2.1" },
    { type: "AAAA", address: "2001:db8::1" },
  ],
  "metal.apps.example.test": [],
  "one.metal.apps.example.test": [{ type: "A", address: "192.0.2.9" }],
  "alias.apps.example.test": [{ type: "CNAME", target: "A.apps.example.test" }],
  "outward.apps.example.test": [{ type: "CNAME", target: "www.elsewhere.test" }],
  "dangling.apps.example.test": [{ type: "CNAME", target: "nobody.apps.example.test" }],
  "round.apps.example.test": [{ type: "CNAME", target: "about.apps.example.test" }],
  "about.apps.example.test": [{ type: "CNAME", target: "round.apps.example.test" }],
  "_acme-challenge.a.apps.example.test": [{ type: "TXT", texts: ["x".repeat(43)] }],
  "large.apps.example.test": Array.from({ length: 40 }, (_, n) => ({
    type: "TXT" as const,
    texts: [String(n).padEnd(100, "t")],
  })),
};

export async function serve(changes: Partial<NameServerOptions> = {}): Promise<NameServer> {
  const server = await startNameServer({
    ...{ host: "127.0.0.1", port: 0, zones: [ZONE], lookup: table(NAMES), log: () => {} },
    ...changes,
    limits: { perSecond: 1e6, burst: 1e6, ...changes.limits },
  });
  later(() => server.close());
  return server;
}

const run = promisify(execFile);

/** What dig prints, with its status lines; the program must not have given up. */
export async function dig(port: number, ...args: string[]): Promise<string> {
  const { stdout } = await run(
    "dig",
    ["@127.0.0.1", "-p", `${port}`, "+time=3", "+tries=1", "+norecurse", ...args],
    {
      timeout: 20_000,
    },
  );
  return stdout;
}

export const statusOf = (printed: string) => /status: (\w+)/.exec(printed)?.[1];
export const flagsOf = (printed: string) => /;; flags: ([a-z ]*);/.exec(printed)?.[1]?.split(" ");
/** Of one section, fields separated by one space. */
export const linesOf = (printed: string, section: "ANSWER" | "AUTHORITY" | "ADDITIONAL"): string[] =>
  (new RegExp(`;; ${section} SECTION:\\n((?:[^;\\n].*\\n)*)`).exec(printed)?.[1] ?? "")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replaceAll(/\s+/g, " "));

export function resolverOf(port: number): Resolver {
  const resolver = new Resolver({ timeout: 2_000, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  return resolver;
}

interface Ask {
  flags?: number;
  class?: number;
  edns?: { udpBytesMax: number; version?: number; data?: Buffer };
}

export function queryBytes(name: string | DomainName, type: number, ask: Ask = {}): Buffer {
  const writer = new MessageWriter({ compress: false });
  const labels = typeof name === "string" ? requireName(name) : name;
  writer.question({ name: labels, type, class: ask.class ?? CLASS.IN });
  const { edns } = ask;
  if (edns)
    writer.raw(3, { name: [], type: TYPE.OPT, class: edns.udpBytesMax, ttl: (edns.version ?? 0) << 16 }, () =>
      writer.bytes(edns.data ?? Buffer.alloc(0)),
    );
  return writer.finish(0x1234, ask.flags ?? FLAG.RD);
}

/** The answer to one datagram, or null when none comes. */
export async function overUdp(port: number, bytes: Buffer, waitMs = 300): Promise<Buffer | null> {
  const socket = createSocket("udp4");
  try {
    const answer = new Promise<Buffer>((resolve) => socket.once("message", resolve));
    socket.send(bytes, port, "127.0.0.1");
    const timeout = new Promise<null>((resolve) => setTimeout(resolve, waitMs, null));
    return await Promise.race([answer, timeout]);
  } finally {
    socket.close();
  }
}

export const asked = async (port: number, bytes: Buffer): Promise<Message> => {
  const answer = await overUdp(port, bytes, 3_000);
  if (answer === null) throw new Error("no answer");
  return parseMessage(answer, 1000);
};

/** What the server sends on a connection that sent `bytes`, until it ends it. */
export async function overTcp(port: number, bytes: Buffer, end = true): Promise<Buffer> {
  const socket = connect({ host: "127.0.0.1", port });
  const parts: Buffer[] = [];
  socket.on("data", (part) => parts.push(part));
  // A reset is an end.
  socket.on("error", () => {});
  socket.write(bytes);
  if (end) socket.end();
  await once(socket, "close");
  return Buffer.concat(parts);
}

export const framed = (bytes: Buffer): Buffer => {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
};
