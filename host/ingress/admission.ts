// SPDX-License-Identifier: Apache-2.0
/**
 * What becomes of a request, decided from its head alone and before a byte of it is passed on. Node's
 * parser, in its strict mode, has refused what two parsers could read in two ways (both lengths, folded
 * lines, bare line feeds); what it lets through of that kind is refused here.
 */
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { type Client, countOf, type Framing, framingOf } from "./fields.ts";
import type { Ports } from "./life.ts";
import { ownerOf } from "./paths.ts";
import type { Refusal } from "./refusal.ts";
import { domainOf, type IngressRoute, type RouteTable, type Target } from "./routes.ts";

export interface ForMachine {
  to: "machine";
  route: IngressRoute;
  target: Target;
  /** In origin form. */
  url: string;
  framing: Framing;
  client: Client;
  /** The protocol asked for, when this is to become a tunnel. */
  upgrade: string | null;
}

/** Whoever checks that the name is ours asks for this token (acme/certificates.ts, E). */
export interface ForVerifier {
  to: "verifier";
  route: IngressRoute;
  token: string;
}

/** Its machine holds the key: nothing of it is said in clear. */
export interface ElsewhereTo {
  to: "https";
  location: string;
}

export type Admission =
  | ForMachine
  | ElsewhereTo
  | { to: "attester"; route: IngressRoute; url: string }
  | ForVerifier
  | { to: "nobody"; refusal: Refusal };

const ABSOLUTE = /^https?:\/\/([^/?#]*)([^#]*)/i;

export function admit(table: RouteTable, request: IncomingMessage, ports: Ports): Admission {
  const serverName = (request.socket as Partial<TLSSocket>).servername;
  const host = request.headers.host;
  // Two Host fields: we would route by the first, and the machine might believe the second.
  if (host === undefined || countOf("host", request.rawHeaders) !== 1) return nobody("malformed");
  if (request.method === "CONNECT") return nobody("method-refused");
  const framing = framingOf(request);
  if (framing === "unknown") return nobody("coding-unknown");
  const url = originForm(request.url!, host, request.method!);
  if (url === null) return nobody("malformed");

  const domain = domainOf(host);
  // A client may reuse a connection for any name its certificate covers; ours cover one.
  if (serverName !== undefined && domain !== domainOf(serverName || "")) return nobody("misdirected");
  const route = domain === null ? undefined : table.find(domain);
  if (route === undefined) return nobody("unknown-host");

  if (route.tlsInside) {
    // Its TLS never ends here; that a request came out of it means that somebody read a hello otherwise.
    if (serverName !== undefined) return nobody("misdirected");
    // A directory asks in clear, and for proofs of orders that the host made for the machine's key.
    const { owner, token } = { token: null, ...ownerOf(url) };
    if (owner === "verifier" && token !== null) return { to: "verifier", route, token };
    return {
      to: "https",
      location: `https://${route.domain}${portFor(host, ports)}${url === "*" ? "/" : url}`,
    };
  }
  const path = ownerOf(url);
  if (path.owner === "attester") return { to: "attester", route, url: path.url };
  if (path.owner === "verifier")
    return path.token === null ? nobody("not-found") : { to: "verifier", route, token: path.token };
  // What it carried in clear is known to who listens; that it is refused tells the sender at once.
  if (route.secureOnly && serverName === undefined) return nobody("insecure");
  if (route.target === null) return nobody("stopped");
  return {
    to: "machine",
    route,
    target: route.target,
    url,
    framing,
    client: {
      address: addressOf(request),
      proto: serverName === undefined ? "http" : "https",
      host,
    },
    upgrade: framing === "none" ? upgradeOf(request) : null,
  };
}

/** Who came to the usual port by somebody who forwards it is sent to the usual port. */
function portFor(host: string, { httpPort, httpsPort }: Ports): string {
  const forwarded = !/:[0-9]+$/.test(host) && httpPort !== 80;
  return forwarded || httpsPort === 443 ? "" : `:${httpsPort}`;
}

const nobody = (refusal: Refusal): Admission => ({ to: "nobody", refusal });

/** RFC 9112, 3.2.2: the absolute form is to be taken, and its authority counts; so it has to be the same one. */
function originForm(url: string, host: string, method: string): string | null {
  if (url.startsWith("/")) return url;
  if (url === "*" && method === "OPTIONS") return url;
  const [, authority, rest] = ABSOLUTE.exec(url) ?? [];
  if (authority === undefined || domainOf(authority) === null) return null;
  if (domainOf(authority) !== domainOf(host)) return null;
  return rest!.startsWith("/") ? rest! : `/${rest}`;
}

/**
 * One protocol, and not another HTTP: in a tunnel of that, the attacker would ask for other names and
 * paths, and say who they are, where nobody looks any more. Ignored, an upgrade is an ordinary request.
 */
function upgradeOf(request: IncomingMessage): string | null {
  const { upgrade, connection } = request.headers;
  if (upgrade === undefined || request.method !== "GET" || request.httpVersion !== "1.1") return null;
  if (!/(^|,)\s*upgrade\s*(,|$)/i.test(connection ?? "")) return null;
  if (countOf("upgrade", request.rawHeaders) !== 1 || !/^[a-z0-9!#$%&'*+.^_`|~/-]+$/i.test(upgrade))
    return null;
  return /^(h2c|h2|http|tls)(\/|$)/i.test(upgrade) ? null : upgrade;
}

function addressOf(request: IncomingMessage): string {
  return (request.socket.remoteAddress ?? "unknown").replace(/^::ffff:(?=[0-9.]+$)/, "");
}
