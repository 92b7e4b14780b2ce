// SPDX-License-Identifier: Apache-2.0
/**
 * What a stranger may hold of us, and for how long. The attacker throughout is anybody who can connect:
 * they have many slow connections and no key. What they can take is bounded in three places — per
 * connection by time, per address by number, and per route by number, so that a crowd at one customer's
 * door leaves the doors of the others open.
 */
export interface Limits {
  /** TCP accepted, TLS not agreed: nobody needs this long who means to. */
  handshakeMs: number;
  /** From the connection, or the first byte of a later request, to the end of the headers: slowloris. */
  headersMs: number;
  /** All headers of a request together. */
  headersBytesMax: number;
  /** A connection between two requests. */
  keepAliveMs: number;
  /** A client that owes us the next byte of its body, or does not read our answer, while we wait. */
  clientStallMs: number;
  /** What a client that was answered early may still send before it is cut off. */
  lingerMs: number;
  connectionsMax: number;
  connectionsPerAddressMax: number;
  /** Requests and tunnels of one route under way. */
  exchangesPerRouteMax: number;

  /** A machine that takes no connection. */
  connectMs: number;
  /** A machine that has the word and says nothing: a long answer in the making, an event stream. */
  machineSilenceMs: number;
  /** A tunnel in which neither side says anything. */
  tunnelSilenceMs: number;
  /** The same where TLS ends inside the machine: it costs a stranger no more than a hello to have one. */
  unopenedSilenceMs: number;
  /** Idle connections kept per machine, and how long. */
  poolMax: number;
  poolIdleMs: number;

  /** What is under way at `close` may take this long to finish. */
  closeMs: number;
}

export const LIMITS: Limits = {
  handshakeMs: 10_000,
  headersMs: 10_000,
  headersBytesMax: 16 * 1024,
  keepAliveMs: 15_000,
  clientStallMs: 60_000,
  lingerMs: 2_000,
  connectionsMax: 4096,
  connectionsPerAddressMax: 512,
  exchangesPerRouteMax: 1024,
  connectMs: 5_000,
  machineSilenceMs: 600_000,
  tunnelSilenceMs: 3_600_000,
  unopenedSilenceMs: 600_000,
  poolMax: 32,
  poolIdleMs: 4_000,
  closeMs: 2_000,
};
