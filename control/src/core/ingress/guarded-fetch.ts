// SPDX-License-Identifier: Apache-2.0
/**
 * An HTTP exchange with a target that a user named, over the guarded dialer, which every redirect goes
 * through again: the attacker's own server is public, and says "now ask 169.254.169.254".
 *
 *  A. Each hop is a new connection, resolved and checked anew. Only GET and HEAD are redirected; never
 *     from https to http; and what the caller sent for one origin is not told to another.
 *  B. One time for all hops with their bodies, one size for the body; headers are bounded by Node's parser.
 *  C. An environment's proxy is not used: it would connect for us, unguarded.
 */
import { type IncomingMessage, request } from "node:http";
import type { Socket } from "node:net";
import { type Guard, guardedConnect, Obstructed } from "./guarded-dialer.ts";

export interface GuardedRequest {
  method?: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  headers?: Readonly<Record<string, string>>;
  body?: Uint8Array;
  /** For everything. */
  timeoutMs: number;
  bodyBytesMax: number;
  /** `cut`: what is more than `bodyBytesMax` is not read, and no fault. For who asks only whether it was taken. */
  excess?: "refuse" | "cut";
  redirectsMax?: number;
}

export interface GuardedResponse {
  status: number;
  headers: IncomingMessage["headers"];
  body: Buffer;
  /** Where it came from in the end. */
  url: string;
}

const HEADERS_BYTES_MAX = 8 * 1024;
const REDIRECTS = [301, 302, 303, 307, 308];
/** What goes to the first origin only (A). Others that a caller made up go nowhere else either. */
const HARMLESS = ["accept", "accept-language", "user-agent"];

/** Throws Obstructed. */
export async function guardedFetch(guard: Guard, url: string, ask: GuardedRequest): Promise<GuardedResponse> {
  const signal = AbortSignal.timeout(ask.timeoutMs);
  const { method = "GET", redirectsMax = 5 } = ask;
  let at = parseTarget(url);
  let headers = ask.headers ?? {};
  for (let redirects = 0; ; redirects++) {
    const response = await exchange(guard, at, { ...ask, method, headers }, signal);
    const location = REDIRECTS.includes(response.status) ? response.headers.location : undefined;
    if (location === undefined || (method !== "GET" && method !== "HEAD"))
      return { ...response, url: at.href };
    if (redirects >= redirectsMax)
      throw new Obstructed("too-many-redirects", "the target redirects too often");
    const next = parseTarget(location, at);
    if (at.protocol === "https:" && next.protocol === "http:")
      throw new Obstructed("forbidden", "the target redirects from https to http");
    if (next.origin !== at.origin)
      headers = Object.fromEntries(
        Object.entries(headers).filter(([name]) => HARMLESS.includes(name.toLowerCase())),
      );
    at = next;
  }
}

function parseTarget(text: string, base?: URL): URL {
  const url = URL.parse(text, base?.href);
  if (url === null) throw new Obstructed("forbidden", "the target is not a URL");
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new Obstructed("forbidden", "only http and https can be asked");
  if (url.username !== "" || url.password !== "")
    throw new Obstructed("forbidden", "a URL must not hold a user name or password");
  return url;
}

type Hop = Pick<GuardedRequest, "body"> & { method: string; headers: Readonly<Record<string, string>> };

export interface GuardedExchange {
  status: number;
  headers: IncomingMessage["headers"];
  /** Is cut, with an error or without, when the signal is aborted. */
  body: IncomingMessage;
  /** Whoever asked must say when they are done. */
  close(): void;
}

/** One exchange without redirects, whose answer is read as it comes; bounded by whoever reads. Throws Obstructed. */
export async function guardedExchange(
  guard: Guard,
  url: string,
  ask: Hop,
  signal: AbortSignal,
): Promise<GuardedExchange> {
  const target = parseTarget(url);
  const { socket, cut } = await connected(guard, target, signal);
  try {
    const response = await headOf(target, ask, socket);
    return { status: response.statusCode!, headers: response.headers, body: response, close: cut };
  } catch (error) {
    cut();
    throw faultOf(error, signal);
  }
}

async function exchange(
  guard: Guard,
  url: URL,
  ask: Hop & Pick<GuardedRequest, "bodyBytesMax" | "excess">,
  signal: AbortSignal,
): Promise<Omit<GuardedResponse, "url">> {
  const { socket, cut } = await connected(guard, url, signal);
  try {
    const response = await headOf(url, ask, socket);
    return {
      status: response.statusCode!,
      headers: response.headers,
      body: await bodyOf(response, ask),
    };
  } catch (error) {
    throw faultOf(error, signal);
  } finally {
    cut();
  }
}

const faultOf = (error: unknown, signal: AbortSignal): Obstructed => {
  if (error instanceof Obstructed) return error;
  return signal.aborted
    ? tooSlow()
    : new Obstructed("broken", "the target did not answer as HTTP has it", { cause: error });
};

async function connected(
  guard: Guard,
  url: URL,
  signal: AbortSignal,
): Promise<{ socket: Socket; cut: () => void }> {
  const secure = url.protocol === "https:";
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const port = Number(url.port || (secure ? 443 : 80));
  const tls = secure ? { tls: { alpn: ["http/1.1"] } } : {};
  if (signal.aborted) throw tooSlow();
  const socket = await guardedConnect(guard, { host, port, ...tls });
  const destroy = () => socket.destroy();
  signal.addEventListener("abort", destroy);
  // It may have been aborted while the connection was made.
  if (signal.aborted) destroy();
  const cut = () => {
    signal.removeEventListener("abort", destroy);
    destroy();
  };
  return { socket, cut };
}

const headOf = (url: URL, ask: Hop, socket: Awaited<ReturnType<typeof guardedConnect>>) =>
  new Promise<IncomingMessage>((resolve, reject) => {
    // The connection is there already: node's own connecting, pooling and proxies have no part in it (C).
    // No `agent` must stand here, not even `false`: with one, `createConnection` is not asked, and node
    // connects by itself.
    const sent = request({
      createConnection: () => socket,
      method: ask.method,
      path: `${url.pathname}${url.search}`,
      headers: {
        ...ask.headers,
        host: url.host,
        connection: "close",
        // A small answer that unpacks into a large one would pass the limit.
        "accept-encoding": "identity",
        ...(ask.body === undefined ? {} : { "content-length": String(ask.body.length) }),
      },
      maxHeaderSize: HEADERS_BYTES_MAX,
    });
    sent.on("error", reject);
    sent.on("response", resolve);
    sent.on("upgrade", () => reject(new Error("the target changed the protocol")));
    // The connection is cut without an error when the time is over.
    sent.on("close", () => reject(new Error("the connection ended before an answer")));
    sent.end(ask.body);
  });

async function bodyOf(
  response: IncomingMessage,
  { bodyBytesMax, excess }: Pick<GuardedRequest, "bodyBytesMax" | "excess">,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response) {
    length += part.length;
    if (length > bodyBytesMax && excess === "cut") break;
    if (length > bodyBytesMax)
      throw new Obstructed("too-large", `the answer is larger than ${bodyBytesMax} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

const tooSlow = () => new Obstructed("too-slow", "the target did not answer in time");
