// SPDX-License-Identifier: Apache-2.0
/**
 * A byte stream both ways between one host and one replica, made of broker messages: 4 bytes of a
 * counter, then bytes. So a link's connection runs over a broker as it does over a socket, with the
 * same frames, limits, credit and heartbeats.
 *
 * The broker promises order and no delivery. Invariants:
 *  A. The bytes read are those written, without a hole: a message missed breaks the pipe.
 *  B. A message without bytes is the end. Each end sends it once, and then nothing.
 *  C. Nothing waits here for room: what may be unread is bounded by the credit of streams and the
 *     limits of `connection.ts`, and a reader too slow for the broker is dropped by the broker.
 */
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { Connection, type Peer } from "../connection.ts";
import { LinkFault } from "../message.ts";

const COUNTER = 4;
/** Two messages for the largest frame; a broker's own limit may be lower. */
const PIECE_MAX = 512 * 1024;
const MESSAGE_LEAST = 4096;

export class Pipe extends Duplex {
  readonly #publish: (message: Uint8Array) => void;
  readonly #pieceMax: number;
  #sent = 0;
  #received = 0;
  #endSent = false;
  #endReceived = false;

  constructor(publish: (message: Uint8Array) => void, messageMax: number) {
    super({ allowHalfOpen: false });
    if (messageMax < MESSAGE_LEAST)
      throw new LinkFault("link.messages-small", `a broker must take messages of ${MESSAGE_LEAST} bytes`);
    this.#publish = publish;
    this.#pieceMax = Math.min(PIECE_MAX, messageMax - COUNTER);
  }

  /** A message of the other end. */
  arrived(message: Uint8Array): void {
    if (this.destroyed || this.#endReceived) return;
    const bytes = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
    if (bytes.length < COUNTER || bytes.readUInt32BE(0) !== this.#received >>> 0) {
      this.destroy(new LinkFault("link.gap", "messages were lost on the way"));
      return;
    }
    this.#received += 1;
    if (bytes.length > COUNTER) {
      this.push(bytes.subarray(COUNTER));
      return;
    }
    this.#endReceived = true;
    this.push(null);
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    try {
      for (let at = 0; at < chunk.length; at += this.#pieceMax)
        this.#send(chunk.subarray(at, at + this.#pieceMax));
      done();
    } catch (error) {
      done(error as Error);
    }
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#sendEnd();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#sendEnd();
    done(error);
  }

  #send(bytes: Uint8Array): void {
    const message = Buffer.allocUnsafe(COUNTER + bytes.length);
    message.writeUInt32BE(this.#sent >>> 0, 0);
    message.set(bytes, COUNTER);
    this.#sent += 1;
    this.#publish(message);
  }

  #sendEnd(): void {
    if (this.#endSent || this.#endReceived) return;
    this.#endSent = true;
    try {
      this.#send(new Uint8Array(0));
    } catch {
      // The broker is gone, and with it whoever would read this.
    }
  }
}

/** A connection asks of its socket only what every duplex stream has: on, write, end, destroy. */
export function connectionOver(pipe: Pipe, peer: Peer, heartbeatMs: number): Connection {
  return new Connection(pipe as Duplex as Socket, peer, heartbeatMs);
}
