// SPDX-License-Identifier: Apache-2.0
/**
 * One live connection over a socket, after or before its hello: frames in and out, streams by number,
 * heartbeats. Both ends use it; `Peer` says what this end does with what arrives.
 *
 * Invariants:
 *  A. Stream numbers are chosen by the opener and only grow. A frame about a number above the highest
 *     opened breaks the protocol; one about a retired number is late and dropped.
 *  B. Any fault from the other side (frame, message, credit) closes this connection and nothing else.
 *  C. `close` happens once: every stream becomes `lost`, then `onClosed` is called.
 *  D. A peer that is silent for DEAD_BEATS heartbeats is gone, whatever the kernel thinks of its socket.
 */
import type { Socket } from "node:net";
import type { StreamRequest } from "#contract/link/machine.ts";
import { encodeFrame, type Frame, FrameDecoder } from "./frame.ts";
import { LinkFault, type Message, parseMessage } from "./message.ts";
import type { LinkStream, StreamEnd } from "./port.ts";
import { FlowStream } from "./stream.ts";

const DEAD_BEATS = 3;
/** Streams open at once on one connection; more are refused, so a peer cannot grow us by opening. */
const STREAMS_MAX = 4096;

type Talk = Exclude<Message, { t: "data" | "credit" | "finish" | "cancel" | "end" | "open" | "ping" }>;

export interface Peer {
  /** Called with the first frame; afterwards `onTalk` gets every message that is not about a stream. */
  onFirst(frame: Frame): void;
  onTalk(message: Talk): void;
  /** Absent on the opening side: an `open` from the other side breaks the protocol there. */
  onOpen?(request: StreamRequest, stream: LinkStream): void;
  onClosed(reason: Error): void;
}

export class Connection {
  readonly #socket: Socket;
  readonly #peer: Peer;
  readonly #streams = new Map<number, FlowStream>();
  readonly #decoder = new FrameDecoder();
  #first = true;
  #lastStream = 0;
  #closed = false;
  #silentBeats = 0;
  /** What is said in one go leaves in one write. */
  #corked = false;
  readonly #beat: NodeJS.Timeout;

  constructor(socket: Socket, peer: Peer, heartbeatMs: number) {
    this.#socket = socket;
    this.#peer = peer;
    socket.on("data", (chunk) => this.#read(chunk));
    socket.on("error", (error) => this.close(error));
    socket.on("close", () => this.close(new LinkFault("link.dropped", "the other side went away")));
    this.#beat = setInterval(() => {
      this.#silentBeats += 1;
      if (this.#silentBeats > DEAD_BEATS) this.close(new LinkFault("link.silent", "no heartbeat"));
      else if (!this.#first) this.send({ t: "ping" });
    }, heartbeatMs);
    this.#beat.unref();
  }

  send(message: { t: string }, payload?: Uint8Array): void {
    if (this.#closed) return;
    const frame = encodeFrame(message, payload);
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    this.#socket.write(frame);
  }

  /** Sends a last message, then closes. */
  sendLast(message: { t: string }, reason: Error): void {
    if (this.#closed) return;
    this.#socket.end(encodeFrame(message));
    this.#shut(reason);
  }

  open(request: StreamRequest): LinkStream {
    const id = ++this.#lastStream;
    const stream = this.#makeStream("opener", id);
    this.send({ t: "open", s: id, request } as { t: string });
    return stream;
  }

  close(reason: Error): void {
    this.#socket.destroy();
    this.#shut(reason);
  }

  #shut(reason: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#beat);
    for (const stream of [...this.#streams.values()]) stream.lost();
    this.#peer.onClosed(reason);
  }

  #read(chunk: Buffer): void {
    this.#silentBeats = 0;
    try {
      for (const frame of this.#decoder.push(chunk)) {
        if (this.#closed) return;
        if (this.#first) {
          this.#first = false;
          this.#peer.onFirst(frame);
        } else this.#dispatch(parseMessage(frame), frame);
      }
    } catch (error) {
      this.close(error instanceof Error ? error : new LinkFault("link.malformed", String(error)));
    }
  }

  #dispatch(message: Message, frame: Frame): void {
    switch (message.t) {
      case "ping":
        break;
      case "open":
        this.#opened(message.s, message.request);
        break;
      case "data":
        this.#streamOf(message.s)?.received(message.c, frame.payload);
        break;
      case "credit":
        this.#streamOf(message.s)?.granted(message.n);
        break;
      case "finish":
        this.#streamOf(message.s)?.peerFinished();
        break;
      case "cancel":
        this.#streamOf(message.s)?.peerCancelled();
        break;
      case "end":
        if (this.#peer.onOpen) throw new LinkFault("link.malformed", "an end from the opening side");
        this.#streamOf(message.s)?.peerEnded(message.end);
        break;
      default:
        this.#peer.onTalk(message);
    }
  }

  #opened(id: number, request: StreamRequest): void {
    if (!this.#peer.onOpen || id <= this.#lastStream)
      throw new LinkFault("link.malformed", "a stream opened from the wrong side or twice");
    this.#lastStream = id;
    const stream = this.#makeStream("server", id);
    if (this.#streams.size > STREAMS_MAX) {
      stream.end({ kind: "failed", code: "host.too-many-streams", detail: "too many streams" });
      return;
    }
    try {
      this.#peer.onOpen(request, stream);
    } catch {
      stream.end({ kind: "failed", code: "platform.unexpected", detail: "the stream could not be served" });
    }
  }

  #streamOf(id: number): FlowStream | undefined {
    if (id > this.#lastStream) throw new LinkFault("link.malformed", "a stream that was never opened");
    return this.#streams.get(id);
  }

  #makeStream(side: "opener" | "server", id: number): FlowStream {
    const stream: FlowStream = new FlowStream(side, {
      data: (c, bytes) => this.send({ t: "data", s: id, c } as { t: string }, bytes),
      credit: (n) => this.send({ t: "credit", s: id, n } as { t: string }),
      finish: () => this.send({ t: "finish", s: id } as { t: string }),
      cancel: () => this.send({ t: "cancel", s: id } as { t: string }),
      end: (end) => this.send({ t: "end", s: id, end: sendable(end) } as { t: string }),
      retired: () => this.#streams.delete(id),
    });
    this.#streams.set(id, stream);
    if (this.#closed) stream.lost();
    return stream;
  }
}

/** JSON has no undefined: a trailer nobody gave travels as null. */
function sendable(end: StreamEnd): StreamEnd {
  return end.kind === "done" ? { kind: "done", trailer: end.trailer ?? null } : end;
}
