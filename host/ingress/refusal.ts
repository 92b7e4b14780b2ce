// SPDX-License-Identifier: Apache-2.0
/**
 * What we say ourselves. A stranger reads these: no machine, address or customer is named in them, and
 * a name without a route is answered like any other.
 */
import type { IncomingMessage, ServerResponse } from "node:http";

const RETRY_AFTER_S = 5;

const REFUSALS = {
  malformed: [400, "The request is malformed."],
  insecure: [403, "This name is served over HTTPS only."],
  "unknown-host": [404, "Nothing is served under this name."],
  "not-found": [404, "There is nothing here."],
  "method-refused": [405, "This method is not served."],
  "too-slow": [408, "The request took too long to arrive."],
  misdirected: [421, "This connection was made for another name."],
  "attester-failed": [500, "The report could not be made."],
  "coding-unknown": [501, "This transfer coding is not supported."],
  unreachable: [502, "The workload did not answer."],
  stopped: [503, "The workload is not running."],
  busy: [503, "Too many requests for this workload are under way."],
  "no-answer": [504, "The workload took too long to answer."],
} as const satisfies Record<string, readonly [status: number, message: string]>;

export type Refusal = keyof typeof REFUSALS;

export function refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  const [status, message] = REFUSALS[refusal];
  const json = /\bapplication\/([\w.-]+\+)?json\b/i.test(request.headers.accept ?? "");
  const body = json ? `${JSON.stringify({ error: refusal, status, message })}\n` : `${message}\n`;
  response.writeHead(status, {
    "Content-Type": json ? "application/json" : "text/plain; charset=utf-8",
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    ...(status === 503 && { "Retry-After": String(RETRY_AFTER_S) }),
    ...(status === 405 && { Allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" }),
    // Where its body would begin or end is in doubt, and so is the next request.
    ...((status === 400 || status === 501) && { Connection: "close" }),
  });
  response.end(body);
}

/** To the same under HTTPS, with the same method and body. */
export function sendAway(request: IncomingMessage, response: ServerResponse, location: string) {
  try {
    response.writeHead(308, { Location: location, "Content-Length": 0, "Cache-Control": "no-store" });
  } catch {
    return refuse(request, response, "malformed");
  }
  response.end();
}

const continued = new WeakSet<ServerResponse>();

/**
 * Passes `100 Continue` on, once, to a client that holds its body back until it is told to go on. One
 * that is answered without may or may not send it; Node then ends the connection after the answer, since
 * the next request could be read as that body.
 */
export function letContinue(request: IncomingMessage, response: ServerResponse): void {
  const waits = request.headers.expect !== undefined && !request.complete && !response.headersSent;
  if (!waits || continued.has(response)) return;
  continued.add(response);
  response.writeContinue();
}
