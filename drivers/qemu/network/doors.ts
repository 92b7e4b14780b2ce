// SPDX-License-Identifier: Apache-2.0
/**
 * Doors of a machine: ports of its gateway that this process carries to one place each, as a registry on the host's
 * loopback, or its resolver. Nothing else of the host is open to a machine, and these only to this one (rules.ts).
 *
 *  A. Where a door leads is the operator's to say, never a machine's: control, that asks for it, may have been taken over.
 *  B. What a machine may hold of us is bounded: connections of a door, questions under way, silence.
 *
 * Doors end with this process; whoever finds the machine again opens them again.
 */
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { connect, createServer, isIPv4, type Server, type Socket } from "node:net";
import { DriverFault } from "../../driver.ts";
import type { Addresses } from "./addresses.ts";

export interface Door {
  port: number;
  to: { host: string; port: number };
  /** An address of this computer's loopback that it dials from, by which the other side knows what may be asked through it. */
  from?: string;
}

const CONNECTIONS_MAX = 64;
const SILENCE_MS = 600_000;
const CONNECT_MS = 10_000;
const QUESTIONS_MAX = 128;
const ANSWER_MS = 5_000;
const DNS = 53;

export interface OpenDoors {
  close(): void;
}

/** @param resolver The host's own, on its loopback; null where machines ask a name server themselves. */
export async function openDoors(
  { gateway, guest }: Addresses,
  doors: readonly Door[],
  resolver: string | null,
): Promise<OpenDoors> {
  const all = [...doors, ...(resolver === null ? [] : [{ port: DNS, to: { host: resolver, port: DNS } }])];
  const closing: (() => void)[] = [];
  const close = () => {
    for (const each of closing.splice(0)) each();
  };
  try {
    for (const door of all) closing.push(await openDoor(gateway, guest, door));
    if (resolver !== null) closing.push(await openResolver(gateway, guest, resolver));
    return { close };
  } catch (error) {
    close();
    throw error;
  }
}

async function openDoor(gateway: string, guest: string, door: Door): Promise<() => void> {
  const open = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (inner) => {
    if (inner.remoteAddress !== guest || open.size >= CONNECTIONS_MAX * 2) return inner.destroy();
    const outer = connect({
      ...{ ...door.to, allowHalfOpen: true },
      ...(door.from !== undefined && { localAddress: door.from }),
    });
    const late = setTimeout(() => outer.destroy(), CONNECT_MS);
    outer.once("connect", () => clearTimeout(late)).once("close", () => clearTimeout(late));
    for (const [from, to] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      open.add(from);
      from.setTimeout(SILENCE_MS, () => from.destroy());
      from
        .on("error", () => {})
        .on("close", () => {
          open.delete(from);
          if (from.errored !== null || !from.readableEnded) to.destroy();
        });
      from.pipe(to);
    }
    return undefined;
  });
  server.on("error", () => {});
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(door.port, gateway, resolve);
    });
  } catch (cause) {
    // Whoever listens on all addresses of the host listens on this one: what the door leads to, then, if it is here.
    const taken = (cause as NodeJS.ErrnoException).code === "EADDRINUSE";
    if (taken && door.to.port === door.port && leadsHere(door.to.host)) return () => {};
    throw new DriverFault("machine.start-failed", `port ${door.port} of the machine's gateway is taken`, {
      cause,
    });
  }
  return () => {
    server.close();
    for (const socket of open) socket.destroy();
  };
}

const leadsHere = (host: string) => host === "localhost" || host.startsWith("127.");

/** One socket for each question, so that an answer belongs to one, and none is taken from elsewhere. */
async function openResolver(gateway: string, guest: string, resolver: string): Promise<() => void> {
  const asking = new Set<UdpSocket>();
  const door = createSocket("udp4");
  door.on("error", () => {});
  door.on("message", (question, { address, port }) => {
    if (address !== guest || asking.size >= QUESTIONS_MAX) return;
    const socket = createSocket("udp4");
    asking.add(socket);
    const done = () => {
      clearTimeout(late);
      if (asking.delete(socket)) socket.close();
    };
    const late = setTimeout(done, ANSWER_MS);
    socket.on("error", done);
    socket.on("message", (answer) => {
      door.send(answer, port, address, () => {});
      done();
    });
    socket.connect(DNS, resolver, () => socket.send(question, (error) => error && done()));
  });
  await new Promise<void>((resolve, reject) => {
    door.once("error", reject);
    door.bind({ address: gateway, port: DNS, exclusive: true }, resolve);
  });
  return () => {
    door.close();
    for (const socket of [...asking]) {
      asking.delete(socket);
      socket.close();
    }
  };
}

/**
 * `host:port` words that a start asks for, as far as the operator lists them. @throws DriverFault For any other. A.
 */
export function doorsOf(asked: readonly string[], allowed: readonly string[]): Door[] {
  return asked.map((name) => {
    const [, host, port] = /^([a-z0-9.-]+):([0-9]{1,5})$/.exec(name) ?? [];
    const number = Number(port);
    if (host === undefined || !allowed.includes(name) || number < 1 || number > 65_535)
      throw new DriverFault("machine.start-failed", `this host opens no door to ${name}`);
    return {
      port: number,
      to: { host: isIPv4(host) || host !== "localhost" ? host : "127.0.0.1", port: number },
    };
  });
}
