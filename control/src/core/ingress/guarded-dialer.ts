// SPDX-License-Identifier: Apache-2.0
/**
 * Connections whose target a user chose: a registry, a webhook, a domain to be checked. The attacker
 * names a host and wants us to reach what they cannot: a service on loopback, the metadata of the cloud,
 * a neighbour (addresses.ts). They may own the name and its server, and answer each question differently.
 *
 *  A. A name is resolved once per connection, and the connection goes to an address of that very answer.
 *     Checking a name and then connecting by name would resolve twice, and the second answer is theirs.
 *  B. If one address of an answer is closed, all are: a mixture is how such an answer looks.
 *  C. Everything ends: resolving, connecting and TLS have one time together.
 */
import { Resolver, lookup as systemLookup } from "node:dns/promises";
import { once } from "node:events";
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { addressBytes, type Block, isOpen, parseBlock } from "./addresses.ts";
import { deadline, TooLate } from "./deadline.ts";

export type Obstacle =
  /** What it names may not be reached from here. */
  | "forbidden"
  | "unresolvable"
  | "unreachable"
  | "too-slow"
  | "too-large"
  | "too-many-redirects"
  | "untrusted"
  | "broken";

/** Why a guarded call did not succeed. The message is for the user who chose the target: it names no address of ours. */
export class Obstructed extends Error {
  readonly obstacle: Obstacle;
  constructor(obstacle: Obstacle, message: string, options?: ErrorOptions) {
    super(message, options);
    this.obstacle = obstacle;
  }
}

export interface GuardOptions {
  /** Addresses and blocks that may be reached though they are not public, from the operator's configuration. */
  allow: readonly string[];
  /** Name servers to ask, `address` or `address:port`; none: as the system resolves. */
  resolvers?: readonly string[];
  /** To resolve, connect and agree on TLS. */
  connectMs?: number;
  /** Certificates beside those of Node, PEM. */
  trust?: readonly string[];
}

export interface Guard {
  allowed: readonly Block[];
  resolve(name: string): Promise<readonly string[]>;
  connectMs: number;
  trust: readonly string[] | null;
}

const ADDRESSES_MAX = 8;

export function openGuard({ allow, resolvers = [], connectMs = 10_000, trust = [] }: GuardOptions): Guard {
  return {
    allowed: allow.map(parseBlock),
    resolve: resolvers.length === 0 ? resolveAsSystem : resolveAt(resolvers, connectMs),
    connectMs,
    trust: trust.length === 0 ? null : trust,
  };
}

/** The addresses behind a host that a user named, all of which may be connected to. Throws Obstructed. */
export async function guardedLookup(guard: Guard, host: string): Promise<readonly string[]> {
  const bare = host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
  const found = isIP(bare) === 0 ? await resolved(guard, bare) : [bare];
  if (found.length === 0) throw new Obstructed("unresolvable", "the name has no address");
  // B.
  if (!found.every((address) => isOpen(address, guard.allowed)))
    throw new Obstructed("forbidden", "the name leads to an address that may not be reached from here");
  return [...new Set(found)].slice(0, ADDRESSES_MAX);
}

export interface Target {
  host: string;
  port: number;
  tls?: { alpn: string[] };
}

/** A connection to a target that a user named. Throws Obstructed. */
export async function guardedConnect(guard: Guard, target: Target): Promise<Socket | TLSSocket> {
  const dial = new AbortController();
  try {
    return await deadline(connectTo(guard, target, dial.signal), guard.connectMs);
  } catch (error) {
    if (error instanceof Obstructed) throw error;
    if (error instanceof TooLate) throw new Obstructed("too-slow", "no connection in time");
    throw error;
  } finally {
    // After success this does nothing: the signal is listened to only while a connection is made.
    dial.abort();
  }
}

async function connectTo(guard: Guard, target: Target, signal: AbortSignal): Promise<Socket | TLSSocket> {
  let last: unknown;
  for (const address of await guardedLookup(guard, target.host)) {
    if (signal.aborted) break;
    // A: an address, so that nothing is resolved again.
    const socket = connect({ host: address, port: target.port, autoSelectFamily: false });
    try {
      await settled(socket, "connect", signal);
      return target.tls === undefined
        ? socket
        : await secured(guard, target, target.tls.alpn, socket, signal);
    } catch (error) {
      socket.destroy();
      if (error instanceof Obstructed) throw error;
      last = error;
    }
  }
  throw new Obstructed("unreachable", "no connection could be made", { cause: last });
}

async function secured(
  guard: Guard,
  { host }: Target,
  alpn: string[],
  socket: Socket,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const servername = isIP(host) === 0 ? { servername: host } : {};
  const ca = guard.trust === null ? {} : { ca: [...guard.trust] };
  const tls = connectTls({
    socket,
    ALPNProtocols: alpn,
    ...servername,
    ...ca,
    ...(isIP(host) === 0 ? {} : { host }),
  });
  try {
    await settled(tls, "secureConnect", signal);
    return tls;
  } catch (cause) {
    tls.destroy();
    throw new Obstructed("untrusted", "the target's certificate is not trusted, or it speaks no TLS", {
      cause,
    });
  }
}

/** C: the loser of a race against the clock does not keep its socket. */
async function settled(socket: Socket, event: string, signal: AbortSignal): Promise<void> {
  const abandon = () => socket.destroy();
  signal.addEventListener("abort", abandon);
  try {
    await once(socket, event, { signal });
  } finally {
    signal.removeEventListener("abort", abandon);
  }
}

async function resolved(guard: Guard, name: string): Promise<readonly string[]> {
  try {
    return await deadline(guard.resolve(name), guard.connectMs);
  } catch (cause) {
    if (cause instanceof TooLate) throw new Obstructed("too-slow", "the name could not be resolved in time");
    throw new Obstructed("unresolvable", "the name could not be resolved", { cause });
  }
}

async function resolveAsSystem(name: string): Promise<readonly string[]> {
  return (await systemLookup(name, { all: true, verbatim: true })).map(({ address }) => address);
}

function resolveAt(servers: readonly string[], timeoutMs: number) {
  const resolver = new Resolver({ timeout: Math.min(timeoutMs, 3_000), tries: 2 });
  resolver.setServers(servers);
  return async (name: string): Promise<readonly string[]> => {
    const answers = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    const found = answers.flatMap((each) => (each.status === "fulfilled" ? each.value : []));
    const failed = answers.find((each) => each.status === "rejected");
    if (found.length === 0 && failed !== undefined) throw failed.reason;
    return found.filter((address) => addressBytes(address) !== null);
  };
}
