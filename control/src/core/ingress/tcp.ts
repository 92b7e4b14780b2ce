// SPDX-License-Identifier: Apache-2.0
/**
 * Questions over TCP, each after its length. The attacker opens many connections and is slow on all of
 * them, or asks without end and does not read.
 *
 *  A. One question of a connection is under way at a time, and the next is read when its answer has left:
 *     who does not read is not read.
 *  B. A connection ends after a silence, after its number of questions, and after its time, whatever it does.
 *  C. When there is no room the oldest connection goes, of its own network if that has too many: holding
 *     connections open keeps nobody else out.
 */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { prefixOf } from "./addresses.ts";

export interface TcpLimits {
  connectionsMax: number;
  connectionsPerNetworkMax: number;
  idleMs: number;
  lifetimeMs: number;
  /** Of one connection. */
  questionsMax: number;
}

interface Options {
  host: string;
  port: number;
  limits: TcpLimits;
  /** Null closes the connection. */
  answer(bytes: Buffer): Promise<Buffer | null>;
  onError(error: unknown): void;
}

/** A question with a name of 255 octets and some options is not larger. */
const QUESTION_BYTES_MAX = 2048;
const LENGTH_BYTES = 2;

export async function serveTcp({
  host,
  port,
  limits,
  answer,
  onError,
}: Options): Promise<{ close(): Promise<void> }> {
  // In the order they came.
  const connections = new Map<Socket, string>();
  const makeRoom = (network: string) => {
    const same = [...connections].filter(([, each]) => each === network);
    const [oldest] =
      same.length >= limits.connectionsPerNetworkMax ? same[0]! : (connections.entries().next().value ?? []);
    const full = connections.size >= limits.connectionsMax || same.length >= limits.connectionsPerNetworkMax;
    if (full && oldest !== undefined) {
      connections.delete(oldest);
      oldest.destroy();
    }
  };

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const network = prefixOf(socket.remoteAddress ?? "");
    makeRoom(network);
    connections.set(socket, network);
    const end = () => socket.destroy();
    const life = setTimeout(end, limits.lifetimeMs);
    socket.setTimeout(limits.idleMs, end);
    // What a connection died of is its peer's business.
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(life);
      connections.delete(socket);
    });
    converse(socket, answer, limits.questionsMax)
      .catch((error) => {
        if (!socket.destroyed) onError(error);
      })
      .finally(end);
  });
  server.listen(port, host);
  await once(server, "listening");
  server.on("error", onError);
  return {
    close: async () => {
      const closed = once(server, "close");
      server.close();
      for (const socket of connections.keys()) socket.destroy();
      await closed;
    },
  };
}

async function converse(socket: Socket, answer: Options["answer"], questionsMax: number): Promise<void> {
  let questions = 0;
  let held: Buffer = Buffer.alloc(0);
  for await (const chunk of socket) {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    while (held.length >= LENGTH_BYTES) {
      const length = held.readUInt16BE();
      if (length > QUESTION_BYTES_MAX) return;
      if (held.length < LENGTH_BYTES + length) break;
      const reply = await answer(held.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
      if (reply === null || socket.destroyed) return;
      await sent(socket, reply);
      questions += 1;
      if (questions >= questionsMax) return;
      held = held.subarray(LENGTH_BYTES + length);
    }
  }
}

/** A: resolves when the bytes have left us; a connection that ends meanwhile rejects. */
const sent = (socket: Socket, reply: Buffer) =>
  new Promise<void>((resolve, reject) => {
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt16BE(reply.length);
    socket.write(Buffer.concat([length, reply]), (error) => (error ? reject(error) : resolve()));
  });
