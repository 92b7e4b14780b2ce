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
import {
  type ClientRequest,
  type IncomingMessage,
  request as openRequest,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import type { ForMachine } from "./admission.ts";
import { cut } from "./connections.ts";
import { requestFields, responseFields, trailerFields } from "./fields.ts";
import type { Limits } from "./limits.ts";
import { freshConnection, type Pools } from "./pools.ts";
import { letContinue, type Refusal, refuse } from "./refusal.ts";
import type { Target } from "./routes.ts";

const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);
/** Cookies and policies make answers' heads larger than requests'. */
export const ANSWER_HEADERS_BYTES_MAX = 64 * 1024;

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

class Exchange {
  readonly #deps: ExchangeDeps;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #ask: ForMachine;
  readonly #fields: string[];
  #outgoing: ClientRequest | null = null;
  #answered = false;
  #repeated = false;
  #moved = false;

  constructor(deps: ExchangeDeps, request: IncomingMessage, response: ServerResponse, ask: ForMachine) {
    this.#deps = deps;
    this.#request = request;
    this.#response = response;
    this.#ask = ask;
    this.#fields = requestFields(request, ask.framing, ask.client);
  }

  begin(): void {
    const { limits } = this.#deps;
    // A client that goes away; its `close` says the rest.
    this.#request.on("error", () => {});
    this.#response.on("close", () => this.#outgoing?.destroy());
    watch(this.#request.socket, this.#response, limits.machineSilenceMs, limits.clientStallMs, {
      clientOwes: () => this.#clientOwes(),
      onClientStalled: () => this.#fail("too-slow"),
      onSilence: () => this.#fail("no-answer"),
    });
    this.#attempt(this.#ask.target, this.#mayRepeat());
  }

  #mayRepeat(): boolean {
    return this.#ask.framing === "none" && IDEMPOTENT.has(this.#request.method!);
  }

  #attempt(target: Target, kept: boolean): void {
    const { limits, pools } = this.#deps;
    let outgoing: ClientRequest;
    try {
      outgoing = openRequest({
        host: target.host,
        port: target.port,
        method: this.#request.method!,
        path: this.#ask.url,
        headers: this.#fields,
        maxHeaderSize: ANSWER_HEADERS_BYTES_MAX,
        insecureHTTPParser: false,
        ...(kept
          ? { agent: pools.of(this.#ask.route.machineId, target) }
          : { createConnection: () => freshConnection(target) }),
      });
    } catch {
      // A path or a field that the parser takes and the writer does not.
      this.#fail("malformed");
      return;
    }
    this.#outgoing = outgoing;
    let connected = false;
    outgoing.on("socket", (socket) =>
      whenConnected(socket, limits.connectMs, () => {
        connected = true;
        if (outgoing === this.#outgoing && !outgoing.destroyed) this.#sendBody(outgoing);
      }),
    );
    outgoing.on("information", (info) => this.#inform(info.statusCode, info.headers.link));
    outgoing.on("response", (incoming) => {
      this.#answered = true;
      if (!relay(incoming, this.#request, this.#response)) this.#fail("unreachable");
    });
    // Nobody asked for a tunnel: a machine that makes one would speak to the client unread.
    outgoing.on("upgrade", (_answer, socket) => {
      socket.destroy();
      this.#fault(outgoing, target, connected, new Error("an upgrade that was not asked for"));
    });
    outgoing.on("error", (error) => this.#fault(outgoing, target, connected, error));
    if (this.#ask.framing === "none") outgoing.end();
  }

  #sendBody(outgoing: ClientRequest): void {
    if (this.#ask.framing === "none") return;
    const request = this.#request;
    outgoing.flushHeaders();
    request.once("end", () => {
      const trailers = trailerFields(request.rawTrailers);
      if (trailers.length > 0 && this.#ask.framing === "chunked") outgoing.addTrailers(trailers);
    });
    request.pipe(outgoing);
  }

  #inform(status: number, link: string | string[] | undefined): void {
    if (this.#request.httpVersion !== "1.1" || this.#response.headersSent) return;
    if (status === 100) letContinue(this.#request, this.#response);
    if (status !== 103 || link === undefined) return;
    try {
      this.#response.writeEarlyHints({ link });
    } catch {
      // A hint that is not well-formed is one the client does without.
    }
  }

  #fault(outgoing: ClientRequest, target: Target, connected: boolean, error: Error): void {
    this.#request.unpipe(outgoing);
    // After the head (C) the answer's own stream tells; before it, only the latest attempt counts.
    if (this.#answered || outgoing !== this.#outgoing || this.#response.destroyed) return;
    if (!this.#repeated && outgoing.reusedSocket && this.#mayRepeat()) {
      this.#repeated = true;
      this.#attempt(target, false);
      return;
    }
    const now = this.#deps.targetNow(this.#ask.route.domain);
    const moved = now !== null && (now.host !== target.host || now.port !== target.port);
    if (!connected && moved && !this.#moved) {
      this.#moved = true;
      this.#attempt(now, false);
      return;
    }
    this.#deps.onUnreachable(this.#ask.route.machineId, error);
    this.#fail("unreachable");
  }

  #clientOwes(): boolean {
    if (this.#request.socket.writableLength > 0) return true;
    const waitsForBody = this.#ask.framing !== "none" && !this.#request.complete;
    return waitsForBody && this.#outgoing?.writableNeedDrain !== true && this.#isSending();
  }

  /** The connection stands, so that what is missing of the body is the client's to send. */
  #isSending(): boolean {
    return this.#outgoing?.socket?.connecting === false;
  }

  #fail(refusal: Refusal): void {
    const outgoing = this.#outgoing;
    this.#outgoing = null;
    if (outgoing !== null) {
      this.#request.unpipe(outgoing);
      outgoing.on("error", () => {}).destroy();
    }
    if (this.#response.headersSent) cut(this.#request.socket);
    else refuse(this.#request, this.#response, refusal);
  }
}

function whenConnected(socket: Socket, timeoutMs: number, then: () => void): void {
  if (!socket.connecting) {
    then();
    return;
  }
  const late = setTimeout(() => socket.destroy(new Error("no connection in time")), timeoutMs);
  socket.once("connect", then);
  for (const event of ["connect", "close"]) socket.once(event, () => clearTimeout(late));
}

/** Passes an answer on; false when its head is not one that can be written. */
export function relay(
  incoming: IncomingMessage,
  request: IncomingMessage,
  response: ServerResponse,
): boolean {
  const bodiless = request.method === "HEAD" || incoming.statusCode === 204 || incoming.statusCode === 304;
  const chunked = incoming.headers["transfer-encoding"] !== undefined && request.httpVersion === "1.1";
  const mayHaveTrailers = chunked && !bodiless;
  const fields = responseFields(incoming, mayHaveTrailers);
  try {
    response.writeHead(incoming.statusCode!, incoming.statusMessage, fields);
  } catch {
    incoming.destroy();
    return false;
  }
  // The first bytes mostly come with the head and leave with it; a head without them must not wait for them.
  const alone = setImmediate(() => !response.writableEnded && response.flushHeaders());
  incoming.once("data", () => clearImmediate(alone));
  incoming.on("error", () => {});
  incoming.on("end", () => {
    const trailers = mayHaveTrailers ? trailerFields(incoming.rawTrailers) : [];
    if (trailers.length > 0) response.addTrailers(trailers);
  });
  incoming.on("close", () => {
    clearImmediate(alone);
    if (!incoming.complete) cut(request.socket);
  });
  incoming.pipe(response);
  return true;
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
  socket.setTimeout(Math.min(stallMs, silenceMs));
  source.on("timeout", () => {
    const bytes = socket.bytesRead + socket.bytesWritten;
    if (bytes !== moved) {
      moved = bytes;
      silentSince = performance.now() - Math.min(stallMs, silenceMs);
    }
    if (suspects.clientOwes()) return suspects.onClientStalled();
    if (performance.now() - silentSince >= silenceMs) return suspects.onSilence();
    socket.setTimeout(Math.min(stallMs, silenceMs));
  });
}
