// SPDX-License-Identifier: Apache-2.0
/** An ingress and machines on loopback for the tests of this folder, taken down after each test. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener, request, type Server } from "node:http";
import { request as requestTls } from "node:https";
import {
  type AddressInfo,
  connect,
  createServer as createTcpServer,
  type Socket,
  type Server as TcpServer,
} from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { Worker } from "node:worker_threads";
import { afterEach } from "vitest";
import type { AcmeOptions } from "./acme/certificates.ts";
import { type Ingress, type IngressOptions, startIngress } from "./ingress.ts";
import { LIMITS, type Limits } from "./limits.ts";
import { openNames } from "./names.ts";
import type { IngressProcess } from "./process.ts";
import type { IngressRoute } from "./routes.ts";

export const DOMAIN = "a.workloads.test";
export const MACHINE = "mach_a";

const undo: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

export const undoLater = (step: () => Promise<unknown> | unknown) => void undo.push(step);

export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), "casemate-ingress-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Logged {
  event: string;
  facts: Record<string, unknown>;
}

/** What the tests see of an ingress, in this process or in its own. */
export type Gate = Pick<IngressProcess, "httpPort" | "httpsPort" | "caPem">;

export type Changes = Partial<Omit<IngressOptions, "limits">> & {
  folder?: string;
  acme?: AcmeOptions;
  limits?: Partial<Limits>;
};

/** The ingress and the host's part in one process, so that a clock and an attester can be given. */
export async function ingress(changes: Changes = {}) {
  const logged: Logged[] = [];
  const log = (event: string, facts: Record<string, unknown>) => void logged.push({ event, facts });
  const { folder = join(scratch(), "ca"), now = () => new Date(), acme } = changes;
  let domains = new Set<string>();
  const issuedInside: string[] = [];
  const names = await openNames({
    ...{ folder, now, log, ...(acme && { acme }) },
    isServed: (domain) => domains.has(domain),
    onRenewed: (domain) => started.renewed(domain),
    onIssuedInside: (machineId) => void issuedInside.push(machineId),
  });
  const started: Ingress = await startIngress({
    host: "127.0.0.1",
    httpPort: 0,
    httpsPort: 0,
    log,
    routes: [],
    findLeaf: (domain) => names.leafOf(domain),
    prove: async (domain, token) => names.proofOf(domain, token),
    attester: async ({ domain, url }) => ({
      status: 200,
      contentType: "text/plain",
      body: `attester of ${domain} at ${url}`,
    }),
    ...changes,
    limits: { ...LIMITS, closeMs: 100, ...changes.limits },
  });
  const close = async () => {
    await names.close();
    await started.close();
  };
  undo.push(close);
  return {
    ...started,
    ...{ logged, folder, close, caPem: names.caPem },
    issuedInside,
    certify: (domains: readonly string[], request: Uint8Array) => names.certify(domains, request),
    spkiSha256: (domain: string) => names.spkiSha256(domain),
    setRoutes(routes: readonly IngressRoute[]) {
      started.setRoutes(routes);
      const here = routes.filter(({ tlsInside }) => !tlsInside);
      domains = new Set(here.map(({ domain }) => domain));
      names.follow(routes);
    },
  };
}

export function route(target: { port: number } | null, changes: Partial<IngressRoute> = {}): IngressRoute {
  return {
    domain: DOMAIN,
    machineId: MACHINE,
    target: target && { host: "127.0.0.1", port: target.port },
    ...changes,
  };
}

/** A machine that speaks HTTP. */
export async function machine(
  answer: RequestListener,
  more: (server: Server) => void = () => {},
): Promise<{ port: number; server: Server }> {
  const server = createServer(answer);
  more(server);
  await listening(server);
  undo.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return { port: (server.address() as AddressInfo).port, server };
}

/** A machine that speaks whatever the test wants. */
export async function rawMachine(answer: (socket: Socket) => void): Promise<{ port: number }> {
  const open = new Set<Socket>();
  const server = createTcpServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on("error", () => {}).on("close", () => open.delete(socket));
    answer(socket);
  });
  await listening(server);
  undo.push(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port };
}

/** A machine whose queue of connections is full and stays so: a further one is neither taken nor refused. */
export async function deafMachine(): Promise<{ port: number }> {
  const thread = new Worker(
    `const { createServer } = require("node:net");
     const server = createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
       require("node:worker_threads").parentPort.postMessage(server.address().port);
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
     });`,
    { eval: true },
  );
  undo.push(() => thread.terminate());
  const [port] = (await once(thread, "message")) as [number];
  for (let count = 0; count < 8; count++) {
    const filler = connect(port, "127.0.0.1").on("error", () => {});
    undo.push(() => filler.destroy());
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  return { port };
}

async function listening(server: TcpServer): Promise<void> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
}

export interface Answer {
  status: number;
  headers: IncomingMessage["headers"];
  rawHeaders: string[];
  trailers: IncomingMessage["trailers"];
  body: string;
}

export interface Ask {
  method?: string;
  path?: string;
  host?: string;
  headers?: Record<string, string | string[]>;
  body?: string | Buffer;
  /** Of HTTPS; the host's name unless said otherwise. */
  serverName?: string;
}

/** One request on a connection of its own; a client that trusts our authority alone. */
export function ask(to: Gate, scheme: "http" | "https", what: Ask = {}): Promise<Answer> {
  const host = what.host ?? DOMAIN;
  const options = {
    host: "127.0.0.1",
    agent: false as const,
    method: what.method ?? "GET",
    path: what.path ?? "/",
    headers: { ...what.headers, host },
  };
  const outgoing =
    scheme === "http"
      ? request({ ...options, port: to.httpPort })
      : requestTls({ ...options, port: to.httpsPort, ca: to.caPem, servername: what.serverName ?? host });
  const answer = answerTo(outgoing);
  outgoing.end(what.body);
  return answer;
}

export async function answerTo(outgoing: ReturnType<typeof request>): Promise<Answer> {
  const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
  // A connection that is cut is told by the answer's own stream.
  outgoing.on("error", () => {});
  let body = "";
  for await (const chunk of incoming.setEncoding("utf8")) body += chunk as string;
  const { headers, rawHeaders, trailers, statusCode } = incoming;
  return { status: statusCode!, headers, rawHeaders, trailers, body };
}

/** A connection to write on by hand, through either port. */
export async function dial(to: Gate, scheme: "http" | "https", localAddress = "127.0.0.1"): Promise<Socket> {
  const socket =
    scheme === "http"
      ? connect({ host: "127.0.0.1", port: to.httpPort, localAddress, allowHalfOpen: true })
      : connectTls({
          host: "127.0.0.1",
          port: to.httpsPort,
          ca: to.caPem,
          servername: DOMAIN,
          // Taken, but not in the types.
          ...{ allowHalfOpen: true },
        });
  undo.push(() => socket.destroy());
  await once(socket, scheme === "http" ? "connect" : "secureConnect");
  return socket.on("error", () => {});
}

/** Everything until the other side ends. */
export async function textOf(socket: Socket): Promise<string> {
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
  });
  await new Promise((resolve) => {
    socket.once("end", resolve);
    socket.once("close", resolve);
  });
  return text;
}

/** The hello of a real TLS client. */
export async function firstWords(servername: string, options: ConnectionOptions = {}): Promise<Buffer> {
  const said = Promise.withResolvers<Buffer>();
  const wire = new Duplex({
    read() {},
    write(bytes: Buffer, _encoding, done) {
      said.resolve(bytes);
      done();
    },
  });
  const client = connectTls({ socket: wire, servername, ...options }).on("error", () => {});
  const bytes = await said.promise;
  client.destroy();
  return bytes;
}
