// SPDX-License-Identifier: Apache-2.0
/**
 * A connection to a machine: carries one request at a time, and reads its answer. Its listeners are made
 * once, and every connection reads into the same memory: a request costs two writes and two reads, and
 * little beside them.
 *
 *  A. What the machine says when nobody asked it ends the connection, also while it rests.
 *  B. The answer may come, and end, before the request is through. Then the connection ends with it.
 */
import { connect, type Socket } from "node:net";
import { type AnswerHead, AnswerParser } from "./answer.ts";
import type { Target } from "./routes.ts";

const KEEP_ALIVE_PROBE_MS = 60_000;
/** Who asked: told of the answer, and in the end of exactly one of `onEnd` and `onLost`. */
export interface Asker {
  /** There is a connection. */
  onConnected(): void;
  onInterim(head: AnswerHead): void;
  onHead(head: AnswerHead): void;
  /** The bytes are gone when this returns. */
  onBody(bytes: Buffer): void;
  /** For now this is all that came. */
  onPause(): void;
  onEnd(trailers: string[], reusable: boolean): void;
  /** Before the answer's end; `connected` says whether the machine can have heard anything. */
  onLost(error: Error, connected: boolean): void;
  /** More of the request's body can be written. */
  onDrain(): void;
}

export class MachineConnection {
  readonly socket: Socket;
  /** It carried a request before. */
  reused = false;
  #asker: Asker | null = null;
  #parser: AnswerParser | null = null;
  #onGone: (() => void) | null = null;
  #trailers: string[] = [];
  #connected = false;
  readonly #memory: Buffer;
  #error: Error | null = null;

  /** Every connection may have the same `memory`: what is read into it is looked at before anything else is. */
  constructor({ host, port }: Target, connectMs: number, memory: Buffer) {
    this.#memory = memory;
    const socket = connect({
      ...{ host, port, allowHalfOpen: true, noDelay: true },
      ...{ keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS },
      onread: { buffer: memory, callback: (length) => this.#read(length) },
    });
    this.socket = socket;
    const late = setTimeout(() => socket.destroy(new Error("no connection in time")), connectMs);
    socket.once("connect", () => {
      clearTimeout(late);
      this.#connected = true;
      this.#asker?.onConnected();
    });
    socket.on("drain", () => this.#asker?.onDrain());
    socket.on("end", () => this.#ended());
    socket.on("error", (error) => {
      this.#error = error;
    });
    socket.on("close", () => {
      clearTimeout(late);
      this.#lost(this.#error ?? new Error("the connection ended"));
    });
  }

  /** Sends a head; the body, if there is one, is written to `socket`. */
  ask(asker: Asker, head: string, bodiless: boolean): void {
    this.#asker = asker;
    this.#onGone = null;
    this.#parser = new AnswerParser(
      {
        onInterim: (interim) => this.#asker?.onInterim(interim),
        onHead: (answer) => this.#asker?.onHead(answer),
        onBody: (bytes) => this.#asker?.onBody(bytes),
        onEnd: (trailers) => {
          this.#trailers = trailers;
        },
      },
      bodiless,
    );
    this.socket.write(head, "latin1");
    if (this.#connected) asker.onConnected();
  }

  /** Nobody asks for now; `onGone` when it ends meanwhile. */
  rest(onGone: () => void): void {
    this.reused = true;
    this.#onGone = onGone;
  }

  /** Whoever asked is told nothing any more. */
  destroy(): void {
    this.#asker = null;
    this.#parser = null;
    this.#onGone = null;
    this.socket.destroy();
  }

  #read(length: number): boolean {
    const [asker, parser] = [this.#asker, this.#parser];
    if (asker === null || parser === null) {
      this.socket.destroy(); // A
      return false;
    }
    try {
      parser.read(this.#memory.subarray(0, length));
    } catch (error) {
      this.#lost(error as Error);
      return false;
    }
    // It may have been let go meanwhile.
    if (this.#asker !== asker) return true;
    if (parser.done) this.#answered(parser.reusable);
    else asker.onPause();
    return true;
  }

  #ended(): void {
    if (this.#parser?.end() === true) this.#answered(false);
    else this.#lost(new Error("the machine ended the connection"));
  }

  #answered(reusable: boolean): void {
    const asker = this.#asker;
    this.#asker = null;
    this.#parser = null;
    if (!reusable) this.socket.destroy();
    asker?.onEnd(this.#trailers, reusable);
  }

  #lost(error: Error): void {
    const [asker, onGone] = [this.#asker, this.#onGone];
    this.destroy();
    onGone?.();
    asker?.onLost(error, this.#connected);
  }
}
