// SPDX-License-Identifier: Apache-2.0
/**
 * The name server of our zones: authoritative for them, refusing everything else, over UDP and TCP on
 * one port. The wire is ours (wire/, docs/decisions/0020): strangers send it, and it has to answer every
 * bad message rightly.
 *
 *  A. No packet makes it throw, hang or grow: reading is bounded (wire/reader.ts), what is under way is
 *     counted, and a lookup that does not come back is answered SERVFAIL.
 *  B. UDP believes nobody's address: answers are small against their question (respond.ts) and counted
 *     for the network they go to (answer-rate.ts), before anything is looked up.
 *  C. A failed lookup is SERVFAIL, never "no such name": resolvers would remember that.
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";
import { answer, type Knowledge, type Lookup } from "./answer.ts";
import { AnswerRate, type AnswerRateLimits } from "./answer-rate.ts";
import { deadline } from "./deadline.ts";
import { type Asked, type Query, readQuery } from "./query.ts";
import { encode, refusal, TCP_BYTES_MAX, truncated, udpLimit } from "./respond.ts";
import { serveTcp, type TcpLimits } from "./tcp.ts";
import { RCODE } from "./wire/codes.ts";
import { openZones, type ZoneConfig } from "./zones.ts";

export interface NameServerLimits extends AnswerRateLimits, TcpLimits {
  lookupMs: number;
  /** Questions over UDP that are being looked up; above it they are dropped, and asked again. */
  underWayMax: number;
}

export const NAME_SERVER_LIMITS: NameServerLimits = {
  perSecond: 100,
  burst: 300,
  networksMax: 50_000,
  lookupMs: 2_000,
  underWayMax: 2_000,
  connectionsMax: 512,
  connectionsPerNetworkMax: 64,
  idleMs: 10_000,
  lifetimeMs: 120_000,
  questionsMax: 200,
};

export interface NameServerOptions {
  /** An address of this computer. On one with many, name it: an answer leaves from where the system likes. */
  host: string;
  /** UDP and TCP; 0 takes a free one. */
  port: number;
  zones: readonly ZoneConfig[];
  lookup: Lookup;
  /** The SOA's; it has to grow when a record changes. Default: when this server started. */
  serial?: () => Promise<number>;
  limits?: Partial<NameServerLimits>;
  log(event: string, facts: Record<string, unknown>): void;
}

export interface NameServer {
  port: number;
  close(): Promise<void>;
}

const COMPLAIN_EVERY_MS = 10_000;
const PORT_TRIES = 20;

export async function startNameServer(options: NameServerOptions): Promise<NameServer> {
  const limits = { ...NAME_SERVER_LIMITS, ...options.limits };
  const started = Math.floor(Date.now() / 1000);
  const knows: Knowledge = {
    zones: openZones(options.zones),
    lookup: options.lookup,
    serial: options.serial ?? (async () => started),
  };
  const complain = complainer(options.log);

  async function respond(query: Query, limitBytes: number): Promise<Buffer> {
    try {
      const sections = await deadline(answer(knows, query.question), limits.lookupMs);
      return encode(query, sections, limitBytes);
    } catch (error) {
      complain("name-server.lookup-failed", error);
      return refusal(query.id, query.flags, RCODE.SERVFAIL, query);
    }
  }

  const rate = new AnswerRate(limits);
  let underWay = 0;
  async function overUdp(bytes: Buffer, address: string): Promise<Buffer | null> {
    const asked = readQuery(bytes);
    if (asked.kind === "silence") return null;
    const verdict = rate.take(address, performance.now());
    if (verdict === "drop") return null;
    if (asked.kind === "refused") return refused(asked);
    if (verdict === "truncate") return truncated(asked.query, { rcode: RCODE.NOERROR, authoritative: true });
    if (underWay >= limits.underWayMax) return null;
    underWay += 1;
    try {
      return await respond(asked.query, udpLimit(bytes.length, asked.query.edns));
    } finally {
      underWay -= 1;
    }
  }

  async function overTcp(bytes: Buffer): Promise<Buffer | null> {
    const asked = readQuery(bytes);
    if (asked.kind === "silence") return null;
    return asked.kind === "refused" ? refused(asked) : respond(asked.query, TCP_BYTES_MAX);
  }

  const { udp, tcp, port } = await bindBoth(options.host, options.port, (at) =>
    serveTcp({
      host: options.host,
      port: at,
      limits,
      answer: overTcp,
      onError: (error) => complain("name-server.tcp", error),
    }),
  );
  let closed: Promise<unknown> | null = null;
  const onMessage = async (bytes: Buffer, from: RemoteInfo) => {
    const reply = await overUdp(bytes, from.address);
    // Nothing can be sent to port 0, and the socket would throw.
    if (reply !== null && closed === null && from.port > 0)
      udp.send(reply, from.port, from.address, () => {});
  };
  udp.on("message", (bytes, from) => {
    onMessage(bytes, from).catch((error) => complain("name-server.udp", error));
  });
  udp.on("error", (error) => complain("name-server.udp", error));

  return {
    port,
    close: async () => {
      closed ??= Promise.all([new Promise<void>((resolve) => udp.close(resolve)), tcp.close()]);
      await closed;
    },
  };
}

const refused = ({ id, flags, rcode, query }: Extract<Asked, { kind: "refused" }>): Buffer =>
  refusal(id, flags, rcode, query);

/** A port that is free for UDP need not be free for TCP; with 0 another one is tried. */
async function bindBoth<T>(host: string, port: number, listen: (port: number) => Promise<T>) {
  for (let tries = 1; ; tries++) {
    const udp = await bindUdp(host, port);
    const bound = udp.address().port;
    try {
      return { udp, tcp: await listen(bound), port: bound };
    } catch (error) {
      await new Promise<void>((resolve) => udp.close(resolve));
      if (port !== 0 || tries >= PORT_TRIES || (error as { code?: string }).code !== "EADDRINUSE")
        throw error;
    }
  }
}

async function bindUdp(host: string, port: number): Promise<Socket> {
  const udp = createSocket(isIPv6(host) ? "udp6" : "udp4");
  udp.bind(port, host);
  await once(udp, "listening");
  return udp;
}

/** A flood of the same fault is one line now and then, with its number. */
function complainer(log: NameServerOptions["log"]) {
  const last = new Map<string, { atMs: number; unsaid: number }>();
  return (event: string, error: unknown) => {
    const now = performance.now();
    const before = last.get(event);
    if (before !== undefined && now - before.atMs < COMPLAIN_EVERY_MS) {
      before.unsaid += 1;
      return;
    }
    last.set(event, { atMs: now, unsaid: 0 });
    log(event, { err: error, unsaid: before?.unsaid ?? 0 });
  };
}
