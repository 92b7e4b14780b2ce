// SPDX-License-Identifier: Apache-2.0
/**
 * A connection that stops being HTTP: WebSocket, or whatever else a machine agrees to. It becomes a
 * tunnel when the machine has said 101 to what was asked, and not a byte sooner: a client that writes
 * ahead, hoping that a refused upgrade leaves it an unread way in, has its bytes dropped.
 *
 * Each way ends by itself, as TCP does; an error of one end ends both.
 */
import { type ClientRequest, type IncomingMessage, request as openRequest, ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { ForMachine } from "./admission.ts";
import { ANSWER_HEADERS_BYTES_MAX } from "./answer.ts";
import { cut } from "./connections.ts";
import { type ExchangeDeps, watch } from "./exchange.ts";
import { requestFields, responseFields, trailerFields } from "./fields.ts";
import { refuse } from "./refusal.ts";
import type { Target } from "./routes.ts";

export const KEEP_ALIVE_PROBE_MS = 60_000;

export function tunnel(
  deps: ExchangeDeps,
  request: IncomingMessage,
  client: Socket,
  head: Buffer,
  ask: ForMachine,
) {
  const { limits } = deps;
  const fields = requestFields(request, "none", ask.client, ask.route.proof);
  fields.push("Connection", "Upgrade", "Upgrade", ask.upgrade!);
  let outgoing: ClientRequest;
  try {
    outgoing = openRequest({
      host: ask.target.host,
      port: ask.target.port,
      method: request.method!,
      path: ask.url,
      headers: fields,
      maxHeaderSize: ANSWER_HEADERS_BYTES_MAX,
      insecureHTTPParser: false,
      createConnection: () => freshConnection(ask.target),
    });
  } catch {
    return refuse(request, lastAnswer(request, client), "malformed");
  }
  let settled = false;
  const settle = () => {
    if (settled) return false;
    settled = true;
    clearTimeout(late);
    return true;
  };
  const late = setTimeout(() => outgoing.destroy(new Error("no answer in time")), limits.clientStallMs);
  client.on("error", () => client.destroy());
  client.on("close", () => outgoing.destroy());
  outgoing.on("error", (error) => {
    if (!settle() || client.destroyed) return;
    deps.onUnreachable(ask.route.machineId, error);
    refuse(request, lastAnswer(request, client), "unreachable");
  });
  outgoing.on("response", (incoming) => {
    if (!settle()) return;
    const response = lastAnswer(request, client);
    if (!relay(incoming, request, response)) refuse(request, response, "unreachable");
  });
  outgoing.on("upgrade", (answer, machine, machineHead) => {
    if (!settle()) return machine.destroy();
    if (answer.headers.upgrade?.toLowerCase() !== ask.upgrade!.toLowerCase()) {
      machine.destroy();
      return refuse(request, lastAnswer(request, client), "unreachable");
    }
    client.write(headOf(answer), "latin1");
    join(client, machine as Socket, head, machineHead);
    guard(client, machine as Socket, deps.limits.tunnelSilenceMs, deps.limits.clientStallMs);
  });
  outgoing.end();
}

/** Passes an answer on; false when its head is not one that can be written. */
function relay(incoming: IncomingMessage, request: IncomingMessage, response: ServerResponse): boolean {
  const bodiless = request.method === "HEAD" || incoming.statusCode === 204 || incoming.statusCode === 304;
  const chunked = incoming.headers["transfer-encoding"] !== undefined && request.httpVersion === "1.1";
  const mayHaveTrailers = chunked && !bodiless;
  const fields = responseFields(incoming.rawHeaders, mayHaveTrailers);
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

/** `head` goes to the machine before anything else, `machineHead` to the client. */
export function join(client: Socket, machine: Socket, head: Buffer, machineHead: Buffer): void {
  if (head.length > 0) machine.write(head);
  if (machineHead.length > 0) client.write(machineHead);
  for (const [from, to] of [
    [client, machine],
    [machine, client],
  ] as const) {
    from.pipe(to);
    from.on("error", () => {});
    // After a clean end the other way may still have bytes to deliver.
    from.on("close", () => (from.errored !== null || !from.readableEnded) && cut(to));
  }
}

export function guard(client: Socket, machine: Socket, silenceMs: number, stallMs: number): void {
  const end = () => {
    client.destroy();
    machine.destroy();
  };
  watch(client, client, silenceMs, stallMs, {
    clientOwes: () => client.writableLength > 0,
    onClientStalled: end,
    onSilence: end,
  });
}

function headOf(answer: IncomingMessage): string {
  const fields = responseFields(answer.rawHeaders, false);
  const lines = [`HTTP/1.1 101 ${answer.statusMessage ?? ""}`, "Connection: Upgrade"];
  lines.push(`Upgrade: ${answer.headers.upgrade}`);
  for (let at = 0; at < fields.length; at += 2) lines.push(`${fields[at]}: ${fields[at + 1]}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** An ordinary answer on a socket that the server has let go of; the connection ends with it. */
export function lastAnswer(request: IncomingMessage, socket: Duplex): ServerResponse {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket as Socket);
  response.on("finish", () => {
    response.detachSocket(socket as Socket);
    (socket as Socket).destroySoon();
  });
  return response;
}

/** Half-open, so that a tunnel can end one way before the other. */
function freshConnection({ host, port }: Target): Socket {
  return connect({
    host,
    port,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
  });
}
