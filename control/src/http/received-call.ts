// SPDX-License-Identifier: Apache-2.0
/**
 * A request as the call that its operation is handed: checked, and with what few ask for made when it
 * is asked for. Every request makes one, so it is a class: members of an object would be made with it.
 */
import { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Operation } from "#contract/operation.ts";
import { type Checks, parseJson } from "./body.ts";
import type { Call, FormPart } from "./call.ts";
import { clientAddress } from "./client-address.ts";
import { EVERY_TIME } from "./idempotency.ts";
import type { Caller } from "./recognise.ts";

export type Recognised = FastifyRequest & {
  caller: Caller;
  operation?: Operation;
  ahead?: Promise<unknown> | undefined;
};

export interface Received {
  operation: Operation;
  checks: Checks;
  request: Recognised;
  reply: FastifyReply;
  /** SHA-256 of what our ingress shows; null: there is none. */
  ingressProofHash: Buffer | null;
}

const NOTHING = Buffer.alloc(0);

export class ReceivedCall implements Call {
  readonly #received: Received;
  #signal: AbortSignal | undefined;
  readonly params: never;
  readonly query: never;
  readonly body: never;
  raw: Buffer;
  once = EVERY_TIME;
  seed: Buffer | null = null;
  inEffect = false;

  constructor(received: Received) {
    const { operation, checks, request } = received;
    this.#received = received;
    this.params = request.params as never;
    this.query = { ...(request.query as object) } as never;
    checks.params(this.params);
    checks.query(this.query);
    this.raw = Buffer.isBuffer(request.body) ? request.body : NOTHING;
    const read = operation.bodyKind === "json";
    this.body = (read ? parseJson(request.headers["content-type"], this.raw, checks) : undefined) as never;
  }

  get requestId() {
    return this.#received.request.id;
  }

  async undone(): Promise<void> {}

  get account() {
    const { request, operation } = this.#received;
    if (request.caller.account === null) throw new Error(`${operation.id} has no account`);
    return request.caller.account;
  }

  get actor() {
    const { request, operation } = this.#received;
    if (request.caller.actor === null) throw new Error(`${operation.id} has no actor`);
    return request.caller.actor;
  }

  /** Of two people who act for one organization neither is shown what the other was answered. */
  get owner() {
    const { principal, account, actor } = this.#received.request.caller;
    return actor === null
      ? (principal?.account?.id ?? "operator")
      : `${account!.id}:${actor.kind}:${actor.id}`;
  }

  get principal() {
    return this.#received.request.caller.principal;
  }

  get stream(): Readable {
    const { request } = this.#received;
    return request.body instanceof Readable ? request.body : request.raw;
  }

  parts() {
    return this.#received.request.parts() as AsyncIterable<FormPart>;
  }

  get headers() {
    return this.#received.request.headers;
  }

  get address() {
    return clientAddress(this.#received.request, this.#received.ingressProofHash);
  }

  get now() {
    return this.#received.request.caller.now;
  }

  /** Most answers are out before anybody could go away. */
  get signal() {
    this.#signal ??= goneSignal(this.#received.reply.raw);
    return this.#signal;
  }

  get ahead() {
    return this.#received.request.ahead;
  }
}

function goneSignal(raw: FastifyReply["raw"]): AbortSignal {
  const controller = new AbortController();
  const end = () => {
    if (!raw.writableFinished) controller.abort();
  };
  if (raw.destroyed) end();
  else raw.once("close", end);
  return controller.signal;
}
