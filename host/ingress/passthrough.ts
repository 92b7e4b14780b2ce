// SPDX-License-Identifier: Apache-2.0
/**
 * TLS that ends inside a machine: such a connection is carried as it is, and nobody here could open it. Only the
 * name in the clear part of its first message is read, to know where it goes.
 *
 *  A. A machine that is not up has nobody with a key for its name. The client is told so by an alert, and by no
 *     certificate: one of ours would be one that the operator can read along with.
 *  B. What a stranger may hold is bounded as for requests (limits.ts): connections by address, exchanges by
 *     route, a hello by time, and silence.
 *
 * The machine sees the connection come from its gateway, not whose it is: there is no place in TLS to say so.
 */
import { connect, type Server, type Socket } from "node:net";
import type { ExchangeDeps } from "./exchange.ts";
import { HelloReader } from "./hello.ts";
import { domainOf, type IngressRoute } from "./routes.ts";
import { guard, join, KEEP_ALIVE_PROBE_MS } from "./tunnel.ts";

export interface PassthroughDeps extends ExchangeDeps {
  /** The route of a name whose key is inside; undefined for any other name. */
  routeInside(domain: string): IngressRoute | undefined;
  /** False: too much is under way for this name already. */
  enter(domain: string): boolean;
  leave(domain: string): void;
}

/** RFC 8446, 6.2: `internal_error`, fatal, before anything was agreed. */
const NOBODY_HOME = Buffer.from([21, 3, 3, 0, 2, 2, 80]);

/**
 * Puts itself before a TLS server, on its own port: what is for a machine with a key of its own is carried there, and everything
 * else the server gets from its first byte on.
 */
export function readNamesBefore(secure: Server, deps: PassthroughDeps): void {
  const agree = secure.listeners("connection") as ((socket: Socket) => void)[];
  secure.removeAllListeners("connection");
  secure.on("connection", (socket: Socket) => {
    readName(socket, deps.limits.handshakeMs, (name, heard) => {
      const route = name === null ? undefined : deps.routeInside(domainOf(name) ?? "");
      if (route !== undefined) return carryUnopened(deps, route, socket, heard);
      socket.unshift(heard);
      for (const each of agree) each.call(secure, socket);
    });
  });
}

/** `done` within this call of a `data` event: whoever takes the socket over misses nothing. */
function readName(socket: Socket, timeoutMs: number, done: (name: string | null, heard: Buffer) => void) {
  const reader = new HelloReader();
  const drop = () => socket.destroy();
  const late = setTimeout(drop, timeoutMs);
  const heard = (bytes: Buffer) => {
    const name = reader.push(bytes);
    if (name === undefined) return;
    stop();
    socket.pause();
    done(name, reader.heard);
  };
  const stop = () => {
    clearTimeout(late);
    socket.off("data", heard).off("error", drop).off("end", drop).off("close", stop);
  };
  socket.on("data", heard).on("error", drop).on("end", drop).on("close", stop);
}

function carryUnopened(deps: PassthroughDeps, route: IngressRoute, client: Socket, hello: Buffer) {
  const { limits } = deps;
  const { domain, machineId, target } = route;
  client.on("error", () => client.destroy());
  const refuse = () => {
    client.write(NOBODY_HOME);
    client.destroySoon();
  };
  if (target === null || !deps.enter(domain)) return refuse(); // A
  client.on("close", () => deps.leave(domain));
  const machine = connect({
    ...{ host: target.host, port: target.port, allowHalfOpen: true, noDelay: true },
    ...{ keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS },
  });
  const late = setTimeout(() => machine.destroy(new Error("no connection in time")), limits.connectMs);
  const goneEarly = () => machine.destroy();
  client.once("close", goneEarly);
  const failed = (error: Error) => {
    clearTimeout(late);
    client.off("close", goneEarly);
    if (client.destroyed) return;
    deps.onUnreachable(machineId, error);
    refuse();
  };
  machine.once("error", failed);
  machine.once("close", () => clearTimeout(late));
  machine.once("connect", () => {
    clearTimeout(late);
    machine.off("error", failed);
    client.off("close", goneEarly);
    // A machine that takes the hello and says nothing of it.
    const mute = setTimeout(() => machine.destroy(new Error("no answer in time")), limits.clientStallMs);
    machine.once("data", () => clearTimeout(mute)).once("close", () => clearTimeout(mute));
    join(client, machine, hello, Buffer.alloc(0));
    guard(client, machine, limits.unopenedSilenceMs, limits.clientStallMs);
  });
}
