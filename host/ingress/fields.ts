// SPDX-License-Identifier: Apache-2.0
/**
 * Header fields on their way through, as flat lists of name, value, name, value: order, repetition and
 * spelling stay the sender's.
 *
 *  A. Fields about one connection end here (RFC 9110, 7.6.1), and so do those that `Connection` names —
 *     but for the ones that say where a message goes and where it ends. A client that could have
 *     `Content-Length` removed would choose where the machine sees the next request begin.
 *  B. What says who the client is, is ours to say. The attacker is a client that sends its own
 *     `X-Forwarded-For` to pass a machine's allow list or to write somebody else's address into its log;
 *     nobody whom we would believe stands before us. Names with `_` for `-` count: gateways that make
 *     variables of fields (CGI, WSGI) cannot tell the two apart.
 *  C. Trailers carry data and no orders: a machine that merges them into its fields would otherwise be
 *     told by a trailer what A and B keep out.
 */
import type { IncomingMessage } from "node:http";

const CONNECTION_ONLY = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
]);
const NOT_REMOVABLE = new Set(["host", "content-length"]);
/** `Proxy` becomes HTTP_PROXY in a CGI program's environment, and its calls go through the attacker. */
const OURS_TO_SAY = /^(x-forwarded-.*|x-casemate-.*|forwarded|x-real-ip|proxy)$/;
const NOT_IN_TRAILERS =
  /^(host|content-.*|trailer|authorization|proxy-.*|cookie|set-cookie|expect|range|if-.*|cache-control|location)$/;

export interface Client {
  address: string;
  proto: "http" | "https";
  host: string;
}

export type Framing = "none" | "length" | "chunked";

/** How a request's body ends. A coding that is not ours to undo is `unknown`. */
export function framingOf(request: IncomingMessage): Framing | "unknown" {
  const coding = request.headers["transfer-encoding"];
  if (coding !== undefined) return coding.trim().toLowerCase() === "chunked" ? "chunked" : "unknown";
  const length = request.headers["content-length"];
  return length === undefined || Number(length) === 0 ? "none" : "length";
}

export function countOf(name: string, raw: readonly string[]): number {
  let count = 0;
  for (let at = 0; at < raw.length; at += 2) if (raw[at]!.toLowerCase() === name) count++;
  return count;
}

/** The fields for the machine; `proof` is for control alone. */
export function requestFields(
  request: IncomingMessage,
  framing: Framing,
  client: Client,
  proof?: string,
): string[] {
  const { headers, rawHeaders, method } = request;
  const chunked = framing === "chunked";
  const kept = keep(rawHeaders, (name) => (name === "trailer" ? chunked : !isOursToSay(name)));
  if (chunked) kept.push("Transfer-Encoding", "chunked");
  // Said, because a body of unknown length would otherwise be assumed of a POST.
  else if (headers["content-length"] === undefined && !NO_BODY_EXPECTED.has(method!))
    kept.push("Content-Length", "0");
  if (headers.te !== undefined && /\btrailers\b/i.test(String(headers.te))) kept.push("TE", "trailers");
  kept.push("X-Forwarded-For", client.address);
  kept.push("X-Forwarded-Proto", client.proto);
  kept.push("X-Forwarded-Host", client.host);
  if (proof !== undefined) kept.push("X-Casemate-Proof", proof);
  return kept;
}

const NO_BODY_EXPECTED = new Set(["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"]);

/** The fields for the client. */
export function responseFields(raw: readonly string[], mayHaveTrailers: boolean): string[] {
  return keep(raw, (name) => name !== "trailer" || mayHaveTrailers);
}

export function trailerFields(raw: readonly string[]): [string, string][] {
  const kept = keep(raw, (name) => !isOursToSay(name) && !NOT_IN_TRAILERS.test(name.replaceAll("_", "-")));
  return Array.from({ length: kept.length / 2 }, (_, pair) => [kept[2 * pair]!, kept[2 * pair + 1]!]);
}

/** B. Of most names the first letter says that they are not. */
function isOursToSay(name: string): boolean {
  const first = name[0];
  if (first !== "x" && first !== "f" && first !== "p") return false;
  return OURS_TO_SAY.test(name.replaceAll("_", "-"));
}

function keep(raw: readonly string[], wanted: (name: string) => boolean): string[] {
  const removable = namedByConnection(raw);
  const kept: string[] = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]!.toLowerCase();
    if (CONNECTION_ONLY.has(name) || !wanted(name)) continue;
    if (removable?.has(name) === true && !NOT_REMOVABLE.has(name)) continue;
    kept.push(raw[at]!, raw[at + 1]!);
  }
  return kept;
}

/** Null: none that is not about the connection anyway. */
function namedByConnection(raw: readonly string[]): Set<string> | null {
  let named: Set<string> | null = null;
  for (let at = 0; at < raw.length; at += 2) {
    if (raw[at]!.length !== "connection".length || raw[at]!.toLowerCase() !== "connection") continue;
    const words = raw[at + 1]!.toLowerCase();
    if (words === "keep-alive" || words === "close") continue;
    named ??= new Set();
    for (const word of words.split(",")) named.add(word.trim());
  }
  return named;
}
