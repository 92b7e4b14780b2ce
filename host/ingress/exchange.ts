// SPDX-License-Identifier: Apache-2.0
/**
 * One request to a machine and its answer back, streamed both ways: nothing here holds more of a body
 * than the pipes do.
 *
 *  A. Only what may be sent twice travels on a kept connection: idempotent, and without a body. A machine
 *     may close a kept connection in the moment we write to it, and then nobody knows whether it acted.
 *     What may be repeated is, once and on a fresh connection; everything else (RFC 9110, 9.2.2) gets a
 *     fresh connection to begin with, for the tenth of a millisecond that costs.
 *  B. A body is not touched before there is a connection. So one that could not be made costs the client
 *     nothing, and when the route has changed meanwhile the request goes to where it leads now.
 *  C. Once the head of an answer went to the client, a fault can only be told by cutting the connection:
 *     an answer that looks whole is one.
 *  D. Whoever keeps us waiting is found out each time nothing has moved for a while: a client that owes
 *     us bytes or does not take ours has that while, a machine at work has much longer.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { ForMachine } from "./admission.ts";
import type { AnswerHead } from "./answer.ts";
import type { Asker, MachineConnection } from "./connection.ts";
import { cut } from "./connections.ts";
import { requestFields, responseFields, trailerFields } from "./fields.ts";
import type { Limits } from "./limits.ts";
import type { Pools } from "./pools.ts";
import { letContinue, type Refusal, refuse } from "./refusal.ts";
import { type BodyWriter, bodyWriter, headOf } from "./request.ts";
import type { Target } from "./routes.ts";

const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

export interface ExchangeDeps {
  limits: Limits;
  pools: Pools;
  /** Where the domain leads by now. */
  targetNow(domain: string): Target | null;
  onUnreachable(machineId: string, error: Error): void;
}

export function carry(
  deps: ExchangeDeps,
  request: IncomingMessage,
  response: ServerResponse,
  ask: ForMachine,
) {
  new Exchange(deps, request, response, ask).begin();
}

class Exchange implements Asker {
  readonly #deps: ExchangeDeps;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #ask: ForMachine;
  #target: Target;
  #connection: MachineConnection | null = null;
  #body: BodyWriter | null = null;
  /** Of the answer, with the first bytes of its body: they leave together when they came together. */
  #head: AnswerHead | null = null;
  #first: Buffer | null = null;
  #mayHaveTrailers = false;
  #answered = false;
  #repeated = false;
  #moved = false;

  constructor(deps: ExchangeDeps, request: IncomingMessage, response: ServerResponse, ask: ForMachine) {
    this.#deps = deps;
    this.#request = request;
    this.#response = response;
    this.#ask = ask;
    this.#target = ask.target;
  }

  begin(): void {
    const { limits } = this.#deps;
    // A client that goes away; its `close` says the rest.
    if (this.#ask.framing !== "none") this.#request.on("error", () => {});
    this.#response.on("close", () => this.#letGo());
    watch(this.#request.socket, this.#response, limits.machineSilenceMs, limits.clientStallMs, {
      clientOwes: () => this.#clientOwes(),
      onClientStalled: () => this.#fail("too-slow"),
      onSilence: () => this.#fail("no-answer"),
    });
    this.#attempt(this.#mayRepeat());
  }

  #mayRepeat(): boolean {
    return this.#ask.framing === "none" && IDEMPOTENT.has(this.#request.method!);
  }

  #attempt(kept: boolean): void {
    const { method } = this.#request;
    const { client, framing, route, url } = this.#ask;
    const fields = requestFields(this.#request, framing, client, route.proof);
    fields.push("Connection", this.#mayRepeat() ? "keep-alive" : "close");
    const head = headOf(method!, url, fields);
    // A path or a field that the parser takes and nobody should write.
    if (head === null) {
      this.#fail("malformed");
      return;
    }
    const { pools } = this.#deps;
    this.#connection =
      (kept ? pools.take(route.machineId, this.#target) : undefined) ?? pools.open(this.#target);
    this.#connection.ask(this, head, method === "HEAD");
  }

  onConnected(): void {
    if (this.#ask.framing === "none" || this.#connection === null) return;
    this.#body = bodyWriter(this.#request, this.#connection.socket, this.#ask.framing); // B
  }

  onDrain(): void {
    this.#body?.onDrain();
  }

  onInterim({ status, fields }: AnswerHead): void {
    if (this.#request.httpVersion !== "1.1" || this.#response.headersSent) return;
    if (status === 100) letContinue(this.#request, this.#response);
    const link = fields.filter((_, at) => at % 2 === 1 && fields[at - 1]!.toLowerCase() === "link");
    if (status !== 103 || link.length === 0) return;
    try {
      this.#response.writeEarlyHints({ link });
    } catch {
      // A hint that is not well-formed is one the client does without.
    }
  }

  onHead(head: AnswerHead): void {
    this.#answered = true;
    this.#head = head;
  }

  onBody(bytes: Buffer): void {
    if (this.#head !== null && this.#first === null) {
      this.#first = bytes;
      return;
    }
    this.onPause();
    this.#write(bytes);
  }

  /** What came with the head leaves with it; a head that came without does not wait. */
  onPause(): void {
    if (this.#head === null) return;
    const first = this.#first;
    if (!this.#passHead()) return;
    if (first === null) this.#response.flushHeaders();
    else this.#write(first);
  }

  onEnd(trailers: string[], reusable: boolean): void {
    const connection = this.#connection!;
    this.#connection = null;
    this.#body?.stop();
    if (reusable && this.#mayRepeat())
      this.#deps.pools.give(this.#ask.route.machineId, this.#target, connection);
    else connection.destroy();
    const first = this.#first;
    if (this.#head !== null && !this.#passHead()) return;
    if (this.#mayHaveTrailers) {
      const passed = trailerFields(trailers);
      if (passed.length > 0) this.#response.addTrailers(passed);
    }
    // As text a small body leaves in one write with the head.
    if (first === null) this.#response.end();
    else this.#response.end(first.toString("latin1"), "latin1");
  }

  onLost(error: Error, connected: boolean): void {
    const reused = this.#connection?.reused === true;
    this.#connection = null;
    this.#body?.stop();
    if (this.#response.destroyed) return;
    if (this.#answered) {
      this.#fail("unreachable"); // C
      return;
    }
    if (!this.#repeated && reused && this.#mayRepeat()) {
      this.#repeated = true;
      this.#attempt(false);
      return;
    }
    const now = this.#deps.targetNow(this.#ask.route.domain);
    const moved = now !== null && (now.host !== this.#target.host || now.port !== this.#target.port);
    if (!connected && moved && !this.#moved) {
      this.#moved = true;
      this.#target = now;
      this.#attempt(false);
      return;
    }
    this.#deps.onUnreachable(this.#ask.route.machineId, error);
    this.#fail("unreachable");
  }

  /** False when it cannot be written; then the client has been told. */
  #passHead(): boolean {
    const { status, reason, fields, chunked } = this.#head!;
    this.#head = null;
    this.#first = null;
    const bodiless = this.#request.method === "HEAD" || status === 204 || status === 304;
    this.#mayHaveTrailers = chunked && !bodiless && this.#request.httpVersion === "1.1";
    try {
      this.#response.writeHead(status, reason, responseFields(fields, this.#mayHaveTrailers));
      return true;
    } catch {
      this.#fail("unreachable");
      return false;
    }
  }

  #write(bytes: Buffer): void {
    const connection = this.#connection;
    // The connection reads into the same memory again.
    if (connection === null || this.#response.write(Buffer.from(bytes))) return;
    connection.socket.pause();
    this.#response.once("drain", () => connection.socket.resume());
  }

  #clientOwes(): boolean {
    if (this.#request.socket.writableLength > 0) return true;
    const waitsForBody = this.#ask.framing !== "none" && !this.#request.complete;
    return waitsForBody && this.#connection?.socket.writableNeedDrain !== true && this.#isSending();
  }

  /** The connection stands, so that what is missing of the body is the client's to send. */
  #isSending(): boolean {
    return this.#connection?.socket.connecting === false;
  }

  #letGo(): void {
    this.#body?.stop();
    this.#connection?.destroy();
    this.#connection = null;
  }

  #fail(refusal: Refusal): void {
    this.#letGo();
    if (this.#response.headersSent) cut(this.#request.socket);
    else refuse(this.#request, this.#response, refusal);
  }
}

export interface Suspects {
  clientOwes(): boolean;
  onClientStalled(): void;
  onSilence(): void;
}

/** D. `source` emits `timeout` when nothing has moved on the client's socket for `stallMs`. */
export function watch(
  socket: Socket,
  source: Pick<ServerResponse, "on"> | Socket,
  silenceMs: number,
  stallMs: number,
  suspects: Suspects,
): void {
  let silentSince = performance.now();
  let moved = -1;
  const everyMs = Math.min(stallMs, silenceMs);
  // Mostly it is what the server has set: a timer saved for each request.
  if (socket.timeout !== everyMs) socket.setTimeout(everyMs);
  source.on("timeout", () => {
    const bytes = socket.bytesRead + socket.bytesWritten;
    if (bytes !== moved) {
      moved = bytes;
      silentSince = performance.now() - everyMs;
    }
    if (suspects.clientOwes()) return suspects.onClientStalled();
    if (performance.now() - silentSince >= silenceMs) return suspects.onSilence();
    socket.setTimeout(everyMs);
  });
}
