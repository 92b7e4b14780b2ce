// SPDX-License-Identifier: Apache-2.0
/**
 * Where strangers come in: HTTP and HTTPS to the public port of the machines of this host. This runs in
 * a process of its own (main.ts), which the host starts and answers (process.ts).
 *
 *   listen -> (the name: hello.ts) -> a machine with a key of its own, unopened (passthrough.ts)
 *          -> (TLS by server name: contexts.ts) -> admission.ts -> the attester
 *                                                               -> a refusal (refusal.ts)
 *                                                               -> exchange.ts | tunnel.ts -> machine
 *
 *  A. Nothing is served for a name without a route: no certificate, no answer but one and the same 404.
 *  B. A request belongs to the route it found at its head. `setRoutes` replaces the table in one step;
 *     what is under way ends where it began.
 *  C. What a stranger may hold is in limits.ts; nothing is awaited without an end.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { admit, type ForVerifier } from "./admission.ts";
import { Connections } from "./connections.ts";
import { Contexts, TLS } from "./contexts.ts";
import { carry, type ExchangeDeps } from "./exchange.ts";
import type { Limits } from "./limits.ts";
import type { AttesterAnswer, AttesterAsk, IngressEvent, ServedLeaf } from "./messages.ts";
import { readNamesBefore } from "./passthrough.ts";
import { Pools } from "./pools.ts";
import { letContinue, refuse, sendAway } from "./refusal.ts";
import { domainOf, type IngressRoute, RouteTable } from "./routes.ts";
import { lastAnswer, tunnel } from "./tunnel.ts";

export interface IngressOptions {
  /** Address to bind to. */
  host: string;
  /** 0: any free one; of httpsPort too. */
  httpPort: number;
  httpsPort: number;
  log(event: IngressEvent, facts: Record<string, string>): void;
  /** Asked only for domains with a route; null when there is no certificate for one. */
  findLeaf(domain: string): Promise<ServedLeaf | null>;
  /** Answers `/nilcc/*` for a domain, in whatever state its machine is. */
  attester(ask: AttesterAsk): Promise<AttesterAnswer>;
  /** What answers a directory of certificates that asks for this token of a domain; null: nothing of ours. */
  prove(domain: string, token: string): Promise<string | null>;
  /** Known before the first connection is taken. */
  routes: readonly IngressRoute[];
  now?: () => Date;
  limits: Limits;
}

export interface Ingress {
  readonly httpPort: number;
  readonly httpsPort: number;
  /** Throws, and changes nothing, when a domain is malformed or comes twice. */
  setRoutes(routes: readonly IngressRoute[]): void;
  /** Another certificate is to be served for this domain, from the next handshake on. */
  renewed(domain: string): void;
  close(): Promise<void>;
}

/** An unreachable machine is logged once in this time: strangers decide how often it is asked for. */
const UNREACHABLE_LOGGED_MS = 60_000;

export async function startIngress(options: IngressOptions): Promise<Ingress> {
  const { limits, findLeaf, now = () => new Date() } = options;
  const table = new RouteTable();
  const pools = new Pools(limits);
  // Not where the machine holds the key: then no certificate of ours is asked for, found or shown.
  const isServed = (domain: string) => {
    const route = table.find(domain);
    return route !== undefined && !route.tlsInside;
  };
  const contexts = new Contexts({ findLeaf, isServed, now });
  const setRoutes = (routes: readonly IngressRoute[]) => {
    table.replace(routes);
    contexts.prune();
    pools.keepOnly(table.all());
  };
  setRoutes(options.routes);
  const deps: ExchangeDeps = {
    limits,
    pools,
    targetNow: (domain) => table.find(domain)?.target ?? null,
    onUnreachable: quietly(options.log),
  };
  const door = new Door(options, table, deps);

  const http = {
    keepAliveTimeout: limits.keepAliveMs,
    headersTimeout: limits.headersMs,
    // Uploads take the time they take, as long as they move (exchange.ts, D).
    requestTimeout: 0,
    connectionsCheckingInterval: Math.min(1_000, limits.headersMs),
    maxHeaderSize: limits.headersBytesMax,
    insecureHTTPParser: false,
    requireHostHeader: true,
    noDelay: true,
    shouldUpgradeCallback: (request: IncomingMessage) => door.wantsTunnel(request),
  };
  const plain = createServer(http);
  const secure = createTlsServer({
    ...http,
    ...TLS,
    allowHalfOpen: true,
    ALPNProtocols: ["http/1.1"],
    handshakeTimeout: limits.handshakeMs,
    // There is no certificate but by name: a handshake without one, or with a stranger's, finds none.
    SNICallback: (name, done) => {
      contexts.find(domainOf(name) ?? "").then(
        (context) => done(null, context ?? undefined),
        () => done(null),
      );
    },
  });
  secure.on("tlsClientError", (_error, socket) => socket.destroy());
  // A ticket from before brings a client past the certificate; it must not bring it past the route.
  secure.prependListener("secureConnection", (socket: TLSSocket) => {
    if (!isServed(domainOf(socket.servername || "") ?? "")) socket.destroy();
  });
  readNamesBefore(secure, {
    ...deps,
    routeInside: (domain) => {
      const route = table.find(domain);
      return route?.tlsInside ? route : undefined;
    },
    enter: (domain) => door.enter(domain),
    leave: (domain) => door.leave(domain),
  });
  const servers = [plain, secure];
  const connections = servers.map((server) => {
    server.maxConnections = limits.connectionsMax;
    // Over a number here, a release of Node may drop fields without a word; their bytes are bounded.
    server.maxHeadersCount = 0;
    server.timeout = limits.clientStallMs;
    door.serve(server);
    return new Connections(server, limits.connectionsPerAddressMax);
  });

  const close = async () => {
    const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    for (const server of servers) server.closeIdleConnections();
    await door.quiet(limits.closeMs);
    for (const each of connections) each.destroyAll();
    pools.close();
    await Promise.all(closed);
  };
  try {
    await listen(plain, options.httpPort, options.host);
    await listen(secure, options.httpsPort, options.host);
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }
  door.ports = {
    httpPort: (plain.address() as AddressInfo).port,
    httpsPort: (secure.address() as AddressInfo).port,
  };
  return {
    ...door.ports,
    setRoutes,
    renewed: (domain) => contexts.renewed(domain),
    close,
  };
}

/** What both servers do with a request. */
class Door {
  readonly #options: IngressOptions;
  readonly #table: RouteTable;
  readonly #deps: ExchangeDeps;
  /** Requests and tunnels under way, by domain. */
  readonly #underWay = new Map<string, number>();
  #onQuiet: (() => void) | null = null;
  ports = { httpPort: 0, httpsPort: 0 };

  constructor(options: IngressOptions, table: RouteTable, deps: ExchangeDeps) {
    this.#options = options;
    this.#table = table;
    this.#deps = deps;
  }

  serve(server: Server): void {
    server.on("request", (request, response) => this.#request(request, response));
    server.on("checkContinue", (request, response) => this.#request(request, response));
    server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
    server.on("connect", (request, socket) => {
      socket.on("error", () => socket.destroy());
      refuse(request, lastAnswer(request, socket), "method-refused");
    });
  }

  wantsTunnel(request: IncomingMessage): boolean {
    const admission = admit(this.#table, request, this.ports);
    return admission.to === "machine" && admission.upgrade !== null;
  }

  /** Resolves when nothing is under way, or after `timeoutMs`. */
  async quiet(timeoutMs: number): Promise<void> {
    if (this.#underWay.size === 0) return;
    await new Promise<void>((resolve) => {
      const late = setTimeout(resolve, timeoutMs);
      this.#onQuiet = () => {
        clearTimeout(late);
        resolve();
      };
    });
  }

  #request(request: IncomingMessage, response: ServerResponse) {
    const { limits } = this.#deps;
    response.on("finish", () => linger(request, limits.lingerMs));
    const admission = admit(this.#table, request, this.ports);
    if (admission.to === "nobody") return refuse(request, response, admission.refusal);
    if (admission.to === "https") return sendAway(request, response, admission.location);
    if (!this.enter(admission.route.domain)) return refuse(request, response, "busy");
    response.on("close", () => this.leave(admission.route.domain));
    if (admission.to === "machine") return carry(this.#deps, request, response, admission);
    if (admission.to === "verifier") return this.#prove(admission, request, response);
    letContinue(request, response);
    this.#attest(admission.route, admission.url, request, response);
  }

  /** RFC 8555, 8.3. A token that is of no order of ours is not found, whoever asks (paths.ts). */
  #prove({ route, token }: ForVerifier, request: IncomingMessage, response: ServerResponse) {
    const asks = request.method === "GET" || request.method === "HEAD";
    const proof = asks ? this.#options.prove(route.domain, token) : Promise.resolve(null);
    proof
      .catch(() => null)
      .then((text) => {
        if (text === null) return refuse(request, response, "not-found");
        const headers = { "Content-Type": "application/octet-stream", "Cache-Control": "no-store" };
        response.writeHead(200, { ...headers, "Content-Length": Buffer.byteLength(text) }).end(text);
      });
  }

  #attest(
    { domain, machineId }: IngressRoute,
    url: string,
    request: IncomingMessage,
    response: ServerResponse,
  ) {
    request.on("error", () => {});
    Promise.try(() => this.#options.attester({ domain, method: request.method!, url })).then(
      ({ status, contentType, body }) =>
        response
          .writeHead(status, { "Content-Type": contentType, "Content-Length": Buffer.byteLength(body) })
          .end(body),
      (error: unknown) => {
        this.#options.log("ingress.attester-failed", { machineId, error: String(error) });
        refuse(request, response, "attester-failed");
      },
    );
  }

  #upgrade(request: IncomingMessage, duplex: Duplex, head: Buffer) {
    const socket = duplex as Socket;
    socket.on("error", () => socket.destroy());
    const admission = admit(this.#table, request, this.ports);
    const refused = (refusal: "busy" | "malformed") => refuse(request, lastAnswer(request, socket), refusal);
    if (admission.to !== "machine" || admission.upgrade === null) return refused("malformed");
    if (!this.enter(admission.route.domain)) return refused("busy");
    socket.on("close", () => this.leave(admission.route.domain));
    tunnel(this.#deps, request, socket, head, admission);
  }

  enter(domain: string): boolean {
    const count = this.#underWay.get(domain) ?? 0;
    if (count >= this.#deps.limits.exchangesPerRouteMax) return false;
    this.#underWay.set(domain, count + 1);
    return true;
  }

  leave(domain: string): void {
    const left = this.#underWay.get(domain)! - 1;
    if (left > 0) this.#underWay.set(domain, left);
    else this.#underWay.delete(domain);
    if (this.#underWay.size === 0) this.#onQuiet?.();
  }
}

/**
 * A client that was answered before it had sent everything: closing at once would throw away what it has
 * not read of the answer (TCP resets over unread bytes). It may go on for a moment, and is not listened to.
 */
function linger(request: IncomingMessage, lingerMs: number): void {
  if (request.complete || request.socket.destroyed) return;
  const { socket } = request;
  const late = setTimeout(() => socket.destroy(), lingerMs);
  const done = () => clearTimeout(late);
  request.once("end", done);
  socket.once("close", done);
  request.resume();
}

function quietly(log: IngressOptions["log"]): ExchangeDeps["onUnreachable"] {
  const saidAt = new Map<string, number>();
  return (machineId, error) => {
    const at = performance.now();
    if (at - (saidAt.get(machineId) ?? Number.NEGATIVE_INFINITY) < UNREACHABLE_LOGGED_MS) return;
    saidAt.set(machineId, at);
    for (const [id, time] of saidAt) if (at - time > UNREACHABLE_LOGGED_MS) saidAt.delete(id);
    log("ingress.machine-unreachable", { machineId, error: error.message });
  };
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
