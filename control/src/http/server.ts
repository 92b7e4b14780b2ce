// SPDX-License-Identifier: Apache-2.0
/**
 * HTTP, for every surface alike: recognise, read, check, call, answer. Routes come from the contract
 * tables; nothing is routed that is not in one.
 *
 *  A. Every answer carries X-Request-ID, made here; a client's own is ignored.
 *  B. Every error, unknown routes and wrong methods included, has its surface's form; never HTML.
 *  C. Unknown throwables become `platform.unexpected` in this file and nowhere else.
 *  D. Bodies are bounded before they are read, and read only after the caller was recognised.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { TLSSocket } from "node:tls";
import multipart from "@fastify/multipart";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import type { Logger } from "pino";
import { Fault } from "#contract/errors.ts";
import { INSTANCE_DOOR_ADDRESS } from "#contract/link/instance-door.ts";
import type { Operation, Surface } from "#contract/operation.ts";
import { makeId } from "../core/identity/index.ts";
import type { Vault } from "../core/vault/index.ts";
import { type Database, unavailable } from "../database/open.ts";
import { send, sendJson } from "./answer.ts";
import { compileChecks } from "./body.ts";
import { BodyBudget } from "./body-budget.ts";
import type { Answer, Route } from "./call.ts";
import { allowsOrigins, answerPreflight, exposeHeaders } from "./cors.ts";
import { deepPaths } from "./deep-paths.ts";
import { once } from "./idempotency.ts";
import type { Metrics } from "./metrics.ts";
import { ReceivedCall, type Recognised } from "./received-call.ts";
import { type RecogniseDeps, recognise } from "./recognise.ts";
import type { TlsMaterial } from "./tls.ts";

export type Dress = (fault: Fault, requestId: string, headers: IncomingHttpHeaders) => unknown;

/** Of a surface whose every answer has a form around what was asked for. */
export interface Envelope {
  /** As this surface's clients know it, in the header too. */
  requestId(id: string): string;
  wrap(data: unknown, requestId: string, headers: IncomingHttpHeaders): unknown;
  /** Fields that its answers carry back. */
  headers(headers: IncomingHttpHeaders): Record<string, string>;
}

export interface HttpOptions extends RecogniseDeps {
  db: Database;
  vault: Vault;
  routes: Route[];
  dress: Record<Surface, Dress>;
  envelopes: Partial<Record<Surface, Envelope>>;
  /** False while the database's disk is (almost) full. */
  hasRoom(): boolean;
  trustedProxies: string[];
  /** SHA-256 of what our ingress shows; null: there is none. */
  ingressProofHash: Buffer | null;
  /** Null: plain HTTP. */
  tls: TlsMaterial | null;
  /** True while we stop: connections are not kept for a next request. */
  stopping(): boolean;
  /** Answers are checked against their schema: in tests always, in production never. */
  checkAnswers: boolean;
  log: Logger;
  metrics: Metrics;
  /** Pages beside the operations: documents, metrics, readiness. */
  pages: (app: FastifyInstance) => void;
}

/**
 * A client that dribbles its request holds a connection, not us: headers are awaited this long, whole
 * requests, uploads of the largest size over a slow line included, that long. Neither counts while an
 * answer is made or streamed, so commands, long polls and event streams take the time they take.
 */
const HEADERS_MS = 20_000;
const REQUEST_MS = 300_000;
/** TLS that is not agreed on by then was not meant to be; Node waits two minutes. */
const HANDSHAKE_MS = 10_000;
const CONNECTIONS_CHECKED_MS = 1_000;
const NO_ROOM_RETRY_S = 5;
/** Two of the largest body there is (16 MiB of input, every byte of it escaped). */
const BODIES_MAX = 200 * 1024 * 1024;

/** Files are counted by whoever reads them; of the rest no form of ours has much. */
const FORM_LIMITS = {
  ...{ fileSize: Number.POSITIVE_INFINITY, files: 2, fields: 16, parts: 16, headerPairs: 32 },
  ...{ fieldNameSize: 100, fieldSize: 1024 * 1024 },
};

/** A file passes through these; smaller ones stop and start the sender for each piece. */
const FORM_BUFFERS = { highWaterMark: 1024 * 1024, fileHwm: 1024 * 1024 };

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] as const;

export async function createServer(options: HttpOptions): Promise<FastifyInstance> {
  const app = Fastify({
    genReqId: newRequestId,
    requestIdHeader: false,
    trustProxy: options.trustedProxies.length > 0 ? options.trustedProxies : false,
    bodyLimit: 1024 * 1024,
    requestTimeout: REQUEST_MS,
    http: { headersTimeout: HEADERS_MS, connectionsCheckingInterval: CONNECTIONS_CHECKED_MS },
    routerOptions: { maxParamLength: 4200, ignoreTrailingSlash: false },
    exposeHeadRoutes: false,
    // Whoever is still being answered when we stop is answered; life.ts ends the rest.
    forceCloseConnections: "idle",
    return503OnClosing: false,
    ...(options.tls !== null && {
      https: { ...options.tls, minVersion: "TLSv1.2" as const, handshakeTimeout: HANDSHAKE_MS },
    }),
    frameworkErrors: (error, request, reply) => answerError(options, error, request, reply),
    clientErrorHandler: refuseConnection,
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  // Hooks that wait for nothing are given a callback: a promise each would cost every request a turn.
  app.addHook("onRequest", (request, reply, done) => {
    reply.header("x-request-id", request.id);
    if (options.stopping()) reply.header("connection", "close");
    if (isBeyondDoor(request)) return done(unknownRoute(request));
    done();
  });
  app.addHook("onResponse", (request, reply, done) => {
    const operation = (request as Recognised).operation?.id ?? "none";
    options.metrics.answered(operation, reply.statusCode, reply.elapsedTime);
    done();
  });
  const budget = new BodyBudget(BODIES_MAX);
  app.addHook("preParsing", (request, reply, payload, done) => {
    const streamed = (request as Recognised).operation?.bodyKind === "bytes";
    done(null, streamed ? payload : budget.meter(request, reply, payload));
  });
  app.setErrorHandler((error, request, reply) => answerError(options, error, request, reply));
  app.setNotFoundHandler((request, reply) => {
    return answerError(options, unknownRoute(request), request, reply);
  });

  const deep = options.routes.filter(({ operation }) => operation.surface === "registry");
  const plain = options.routes.filter((one) => !deep.includes(one));
  const streams = plain.filter(({ operation }) => operation.bodyKind === "bytes");
  for (const each of plain.filter((one) => !streams.includes(one))) bind(app, options, each);
  app.register(async (inner) => {
    inner.removeAllContentTypeParsers();
    inner.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
    await inner.register(multipart, { ...FORM_BUFFERS, limits: FORM_LIMITS, throwFileSizeLimit: false });
    for (const each of streams) bind(inner, options, each);
    bindDeep(inner, options, deep);
  });
  refuseOtherMethods(app, plain);
  options.pages(app);
  return app;
}

const unknownRoute = ({ method, url }: FastifyRequest) =>
  new Fault("request.unknown-route", { method, path: url.split("?")[0]! });

/** The socket's own address: what a proxy says of somebody else is not asked. */
const isBeyondDoor = ({ socket, routeOptions }: FastifyRequest): boolean =>
  socket.remoteAddress?.replace(/^::ffff:/, "") === INSTANCE_DOOR_ADDRESS &&
  (routeOptions.config as { surface?: string } | undefined)?.surface !== "inference";

function bind(app: FastifyInstance, options: HttpOptions, route: Route): void {
  const { operation, handle } = route;
  const checks = compileChecks(operation);
  app.route({
    method: operation.method,
    url: operation.path,
    // A raw stream is bounded by its handler; Fastify's limit still refuses a larger Content-Length.
    bodyLimit: operation.bodyLimit,
    config: { operation: operation.id, surface: operation.surface },
    onRequest: (request, reply) => {
      if (allowsOrigins(operation.surface)) exposeHeaders(reply);
      const ahead = route.ahead?.(request.params);
      // Who is refused never hears that it failed.
      ahead?.catch(() => {});
      (request as Recognised).ahead = ahead;
      return admit(options, operation, request as Recognised, reply);
    },
    handler: async (request, reply) => {
      const { ingressProofHash } = options;
      const call = new ReceivedCall({
        ...{ operation, checks, reply, ingressProofHash },
        request: request as Recognised,
      });
      const work = () => handle(call);
      // What the request is, is known of bytes only when they were read: their handler sees to it.
      const ours = operation.idempotent && operation.bodyKind !== "bytes";
      const bare = ours ? await once(options, call, operation.id, work) : await work();
      const answer = enveloped(options.envelopes[operation.surface], bare, request, reply);
      if (options.checkAnswers && "body" in answer) checks.response(answer.status, answer.body);
      return send(reply, answer, options.log);
    },
  });
}

/** After the idempotency key: what is answered again is in the envelope of the request that asks now. */
function enveloped(
  envelope: Envelope | undefined,
  answer: Answer,
  request: FastifyRequest,
  reply: FastifyReply,
): Answer {
  if (envelope === undefined) return answer;
  const id = addressed(envelope, request, reply);
  const { status, headers } = answer;
  const wrapped = (data: unknown) => ({
    ...{ status, body: envelope.wrap(data, id, request.headers) },
    ...(headers !== undefined && { headers }),
  });
  if ("body" in answer && answer.body !== undefined) return wrapped(answer.body);
  const replayed = headers?.["idempotency-replayed"] !== undefined;
  return replayed && "bytes" in answer && answer.bytes !== undefined
    ? wrapped(JSON.parse(Buffer.from(answer.bytes).toString()))
    : answer;
}

function addressed(envelope: Envelope, request: FastifyRequest, reply: FastifyReply): string {
  const id = envelope.requestId(request.id);
  reply.headers({ ...envelope.headers(request.headers), "x-request-id": id });
  return id;
}

async function admit(
  options: HttpOptions,
  operation: Operation,
  request: Recognised,
  reply: FastifyReply,
): Promise<void> {
  request.operation = operation;
  request.caller = await recognise(options, operation, request, reply);
  if (adds(operation) && !options.hasRoom())
    throw new Fault("platform.no-space", {}, { retryAfterSeconds: NO_ROOM_RETRY_S });
}

/** All methods of all paths below `/v2`, to the operation that the tables have for them. */
function bindDeep(app: FastifyInstance, options: HttpOptions, routes: readonly Route[]): void {
  const find = deepPaths(routes);
  const checks = new Map(routes.map(({ operation }) => [operation, compileChecks(operation)]));
  for (const url of ["/v2", "/v2/*"])
    app.route({
      method: [...METHODS],
      url,
      bodyLimit: Number.MAX_SAFE_INTEGER,
      config: { surface: "registry" },
      onRequest: async (request, reply) => {
        reply.header("docker-distribution-api-version", "registry/2.0");
        const { route, params } = find(request.method, request.raw.url ?? "");
        Object.assign(request, { deep: route, params });
        await admit(options, route.operation, request as Recognised, reply);
      },
      handler: async (request, reply) => {
        const { operation, handle } = (request as Recognised & { deep: Route }).deep;
        const its = checks.get(operation)!;
        const call = new ReceivedCall({
          ...{ operation, checks: its, reply, ingressProofHash: options.ingressProofHash },
          request: request as Recognised,
        });
        if (operation.bodyKind === "raw") call.raw = await readWhole(call.stream, operation.bodyLimit);
        const answer = await handle(call);
        if (options.checkAnswers && "body" in answer) its.response(answer.status, answer.body);
        return send(reply, answer, options.log);
      },
    });
}

async function readWhole(stream: Readable, limit: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream) {
    parts.push(part as Buffer);
    size += (part as Buffer).length;
    if (size > limit) throw new Fault("request.too-large", { limit });
  }
  return Buffer.concat(parts);
}

/** Ending and reading go on without room: they are what an operator and a customer need most then. */
const adds = ({ method, storesNothing }: Operation): boolean =>
  method !== "GET" && method !== "HEAD" && method !== "DELETE" && storesNothing !== true;

/** What never became a request: not HTTP, or too slow. Written by hand, since there is no reply to use. */
const newRequestId = (): string => makeId("req");

function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  // Nothing can be said where TLS was not agreed on, and what is written would wait for that for ever.
  if (!socket.writable || (socket instanceof TLSSocket && !socket.getCipher()?.name)) {
    socket.destroy();
    return;
  }
  const late = error.code === "ERR_HTTP_REQUEST_TIMEOUT";
  const [status, name, message] = late
    ? [408, "RequestTimeout", "The request took too long to arrive."]
    : [400, "BadRequest", "The request is not HTTP."];
  const body = JSON.stringify({ error: name, message, status });
  const head = `HTTP/1.1 ${status} ${late ? "Request Timeout" : "Bad Request"}`;
  socket.end(
    `${head}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nx-request-id: ${newRequestId()}\r\nconnection: close\r\n\r\n${body}`,
  );
}

function refuseOtherMethods(app: FastifyInstance, plain: readonly Route[]): void {
  const byPath = Map.groupBy(plain, ({ operation }) => operation.path);
  for (const [path, routes] of byPath) {
    const { surface } = routes[0]!.operation;
    const allowed: string[] = routes.map(({ operation }) => operation.method);
    const others = METHODS.filter((method) => !allowed.includes(method));
    app.route({
      method: [...others],
      url: path,
      config: { surface },
      onRequest: async (request, reply) => {
        if (allowsOrigins(surface)) {
          if (request.method === "OPTIONS") return answerPreflight(reply, allowed.join(", "));
          exposeHeaders(reply);
        }
        reply.header("allow", allowed.join(", "));
        throw new Fault("request.method", { method: request.method, allowed: allowed.join(", ") });
      },
      handler: async () => {},
    });
  }
}

function answerError(options: HttpOptions, error: unknown, request: FastifyRequest, reply: FastifyReply) {
  const fault = faultOf(error, request.routeOptions?.bodyLimit);
  // What is left of a body we do not read would be taken for the next request.
  if (!request.raw.complete) reply.header("connection", "close");
  if (fault.code === "platform.unexpected") {
    options.log.error({ err: error, requestId: request.id, route: request.routeOptions?.url }, "unexpected");
  }
  const { status } = fault.kind;
  const retry = fault.retryAfterSeconds ?? (status === 429 || status === 503 ? 1 : undefined);
  if (retry !== undefined) reply.header("retry-after", String(retry));
  const surface =
    (request.routeOptions?.config as { surface?: Surface } | undefined)?.surface ?? surfaceOf(request.url);
  // Docker asks nobody else for a token when it is told this.
  if (status === 401)
    reply.header("www-authenticate", surface === "registry" ? 'Basic realm="casemate"' : "Bearer");
  const envelope = options.envelopes[surface];
  reply.header("x-request-id", request.id);
  const id = envelope === undefined ? request.id : addressed(envelope, request, reply);
  return sendJson(reply.code(status), options.dress[surface](fault, id, request.headers));
}

/** Whose clients ask for a path that is not there. */
const surfaceOf = (path: string): Surface =>
  SURFACES.find(([prefix]) => path.startsWith(prefix))?.[1] ?? "sessions";
const SURFACES: readonly (readonly [string, Surface])[] = [
  ["/api/", "workloads"],
  ["/v1/instances", "instances"],
  ["/v1/usage", "instances"],
  ["/inference/", "inference"],
  ["/v2/", "registry"],
  ["/cpt/", "models"],
  ["/dev/", "devices"],
  ["/cdb/oauth2/", "oauth"],
  ["/cdb/", "identity"],
  ["/auth/", "identity"],
];

/** Faults as they are, the framework's own refusals in our words, everything else unexpected (C). */
function faultOf(error: unknown, bodyLimit?: number): Fault {
  if (error instanceof Fault) return error;
  const { code = "", statusCode } = error as { code?: string; statusCode?: number };
  if (code === "FST_ERR_CTP_BODY_TOO_LARGE") return new Fault("request.too-large", { limit: bodyLimit ?? 0 });
  if (code === "FST_INVALID_MULTIPART_CONTENT_TYPE")
    return new Fault("request.media-type", { expected: "multipart/form-data" });
  if (code === "FST_ERR_CTP_INVALID_MEDIA_TYPE")
    return new Fault("request.media-type", { expected: "application/json" });
  if (code === "ENOSPC" || code === "EDQUOT") return new Fault("platform.no-space", {}, { cause: error });
  if (code === "EMFILE" || code === "ENFILE" || code === "ENOMEM")
    return new Fault("platform.overloaded", {}, { cause: error });
  // PostgreSQL's "data exception": a value that a column cannot hold, such as a NUL byte or a date that is none.
  if (/^22/.test(code))
    return new Fault(
      "request.invalid",
      { detail: "A value is not one that can be stored." },
      { cause: error },
    );
  const gone = unavailable(error);
  if (gone !== null) return gone;
  if (code.startsWith("FST_ERR") && statusCode !== undefined && statusCode < 500) {
    return new Fault("request.malformed", { detail: "The request could not be read." }, { cause: error });
  }
  return new Fault("platform.unexpected", {}, { cause: error });
}
