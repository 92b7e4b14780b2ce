// SPDX-License-Identifier: Apache-2.0
/**
 * One stream, seen from one end; the same class serves both. Bytes flow in each direction under
 * credit: an end starts with CREDIT_BYTES to spend, and gets back what the other end's reader took.
 *
 * Invariants:
 *  A. Bytes received and not yet taken never exceed CREDIT_BYTES; a peer that sends more breaks the
 *     protocol and loses its connection.
 *  B. `ended` resolves once, with the first terminal: the serving side's own `end`, the frame of it at
 *     the opener, or `lost`.
 *  C. Chunks that arrived before the terminal frame are still read after it; after `lost` they are not,
 *     since a truncated output must not look whole.
 *  D. A reader that has left (cancelled, or broke out of the loop) keeps granting credit for what it
 *     throws away, so the other side can always reach its terminal frame.
 *  E. A chunk costs its bytes and CHUNK_COST more, so a flood of one-byte chunks is bounded by A too,
 *     and a small chunk is copied out of the large read it came in.
 */
import { CHUNK_MAX, CREDIT_BYTES, type LinkStream, type StreamEnd } from "./port.ts";

/** How a stream speaks to its connection. */
export interface StreamWire {
  data(channel: number, bytes: Uint8Array): void;
  credit(bytes: number): void;
  finish(): void;
  cancel(): void;
  end(end: StreamEnd): void;
  /** The stream has its terminal and will send nothing more. */
  retired(): void;
}

class StreamFault extends Error {}

/** Credit is given back in lumps: small enough that a writer at CHUNK_MAX never waits for the rest. */
const CREDIT_LUMP = CREDIT_BYTES / 4;
const CHUNK_COST = 256;
const COPIED_BELOW = 16 * 1024;

const costOf = (bytes: Uint8Array) => bytes.length + CHUNK_COST;

export class FlowStream implements LinkStream {
  readonly ended: Promise<StreamEnd>;
  readonly signal: AbortSignal;

  readonly #side: "opener" | "server";
  readonly #wire: StreamWire;
  readonly #abort = new AbortController();
  #resolveEnded!: (end: StreamEnd) => void;
  #end: StreamEnd | undefined;

  #spendable = CREDIT_BYTES;
  #wakeWriter: (() => void) | undefined;
  #writes: Promise<void> = Promise.resolve();
  #finished = false;

  #inbox: { channel: number; bytes: Uint8Array }[] = [];
  #unread = 0;
  #toGrant = 0;
  #peerFinished = false;
  #readerLeft = false;
  #wakeReader: (() => void) | undefined;
  #reading = false;

  constructor(side: "opener" | "server", wire: StreamWire) {
    this.#side = side;
    this.#wire = wire;
    this.signal = this.#abort.signal;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  write(chunk: Uint8Array, channel = 0): Promise<void> {
    const turn = this.#writes.then(() => this.#send(chunk, channel));
    this.#writes = turn.catch(() => {});
    return turn;
  }

  async #send(chunk: Uint8Array, channel: number): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      const piece = chunk.subarray(at, at + CHUNK_MAX);
      while (!this.#end && this.#spendable < costOf(piece))
        await new Promise<void>((resolve) => {
          this.#wakeWriter = resolve;
        });
      if (this.#end) throw new StreamFault(`the stream has ended (${this.#end.kind})`);
      if (this.#finished) throw new StreamFault("written after finish");
      this.#spendable -= costOf(piece);
      this.#wire.data(channel, piece);
      at += piece.length;
    }
    if (this.#end) throw new StreamFault(`the stream has ended (${this.#end.kind})`);
  }

  finish(): void {
    // Behind the writes still waiting for credit, so that no byte is overtaken.
    this.#writes = this.#writes.then(() => {
      if (this.#finished || this.#end) return;
      this.#finished = true;
      this.#wire.finish();
    });
  }

  async *chunks(): AsyncGenerator<{ channel: number; bytes: Uint8Array }> {
    if (this.#reading) throw new StreamFault("a stream has one reader");
    this.#reading = true;
    try {
      for (;;) {
        const next = this.#inbox.shift();
        if (next) {
          this.#taken(next.bytes);
          yield next;
          continue;
        }
        if (this.#end || this.#peerFinished || this.#readerLeft) return;
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
      }
    } finally {
      this.#leaveReader();
    }
  }

  cancel(): void {
    if (this.#end) return;
    if (this.#side === "server") {
      this.end({ kind: "cancelled" });
      return;
    }
    if (!this.#readerLeft) this.#wire.cancel();
    this.#leaveReader();
    this.#cancelled();
  }

  end(end: StreamEnd): void {
    if (this.#side === "opener") throw new StreamFault("only the serving side ends a stream; cancel it");
    if (this.#end) return;
    this.#wire.end(end);
    this.#settle(end);
  }

  // ——— what the connection calls ———

  /** Throws StreamFault when the peer sent more than it was granted (A). */
  received(channel: number, bytes: Uint8Array): void {
    if (bytes.length > CHUNK_MAX) throw new StreamFault("a chunk over the limit");
    this.#unread += costOf(bytes);
    if (this.#unread > CREDIT_BYTES) throw new StreamFault("more bytes than were granted");
    if (this.#end || this.#peerFinished) {
      // The opener cannot know yet that we have ended: what is on its way is dropped.
      if (this.#peerFinished && !this.#end) throw new StreamFault("bytes after finish");
      return;
    }
    if (this.#readerLeft) {
      this.#taken(bytes);
      return;
    }
    this.#inbox.push({ channel, bytes: bytes.length < COPIED_BELOW ? Uint8Array.from(bytes) : bytes });
    this.#wake();
  }

  granted(bytes: number): void {
    this.#spendable += bytes;
    if (this.#spendable > CREDIT_BYTES) throw new StreamFault("more credit than was spent");
    this.#wakeWriter?.();
  }

  peerFinished(): void {
    this.#peerFinished = true;
    this.#wake();
  }

  peerCancelled(): void {
    if (this.#end) return;
    this.#leaveReader();
    this.#cancelled();
  }

  peerEnded(end: StreamEnd): void {
    this.#settle(end);
  }

  lost(): void {
    if (this.#end) return;
    this.#inbox = [];
    this.#settle({ kind: "lost" });
  }

  // ———

  #cancelled(): void {
    if (!this.#abort.signal.aborted) this.#abort.abort(new StreamFault("cancelled"));
  }

  #settle(end: StreamEnd): void {
    if (this.#end) return;
    this.#end = end;
    if (end.kind === "lost" && !this.#abort.signal.aborted)
      this.#abort.abort(new StreamFault("the link dropped"));
    this.#resolveEnded(end);
    this.#wakeWriter?.();
    this.#wake();
    this.#wire.retired();
  }

  #wake(): void {
    const wake = this.#wakeReader;
    this.#wakeReader = undefined;
    wake?.();
  }

  #taken(bytes: Uint8Array): void {
    this.#unread -= costOf(bytes);
    this.#toGrant += costOf(bytes);
    if (this.#toGrant < CREDIT_LUMP || this.#end) return;
    const grant = this.#toGrant;
    this.#toGrant = 0;
    this.#wire.credit(grant);
  }

  #leaveReader(): void {
    if (this.#readerLeft) return;
    this.#readerLeft = true;
    for (const { bytes } of this.#inbox.splice(0)) this.#taken(bytes);
    this.#wake();
  }
}
