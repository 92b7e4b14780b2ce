// SPDX-License-Identifier: Apache-2.0
/**
 * One call of a model: who may, what it may cost, the upstream's answer, what it did cost. What is said to a model and what it says
 * passes through here and is kept nowhere: it stands in no row, no log and no error of ours.
 *
 *  A. Every call that was begun is ended, whatever happens to client and upstream.
 *  B. A client that goes away ends the upstream's work; what is known of its use is charged.
 *  C. An upstream's refusal of our key is ours, and its words may show a part of the key: nobody is told them.
 */

import { Fault } from "#contract/errors.ts";
import type { chatCompletions, completions, embeddings } from "#contract/inference/index.ts";
import type { BodyOf } from "#contract/operation.ts";
import { type GuardedExchange, guardedExchange, Obstructed } from "../../core/ingress/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import { beginCall, endCall, findAsker, type Operation, type Outcome } from "./calls.ts";
import type { Deps } from "./deps.ts";
import { contentOf, eventsOf, passEvent, type Seen } from "./event-text.ts";
import { costOf, guessTokens, readUsage, type Tokens, tokensAhead } from "./tokens.ts";
import type { Model } from "./upstreams.ts";

const PATHS: Record<Operation, string> = {
  chat: "chat/completions",
  completions: "completions",
  embeddings: "embeddings",
};
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const REFUSAL_BYTES_MAX = 64 * 1024;
const WORDS_MAX = 1000;
/** What a client did wrong by the upstream's word. */
const CALLERS_FAULT = new Set([400, 404, 413, 415, 422]);

type Asking = Call<typeof chatCompletions> | Call<typeof completions> | Call<typeof embeddings>;
type Body = Partial<BodyOf<typeof chatCompletions>> & { prompt?: unknown; input?: unknown };

export async function ask(deps: Deps, call: Asking, operation: Operation): Promise<Answer> {
  const { db, upstreams, bounds } = deps;
  const instance = call.principal?.instanceId ?? null;
  const asker = instance === null ? null : await findAsker(db.soft, instance);
  // The token's row goes with its instance; one that was read just before opens nothing either.
  if (instance === null || asker === null) throw new Fault("identity.unauthorized");
  if (upstreams.models.size === 0) throw new Fault("inference.unavailable", {}, { retryAfterSeconds: 60 });
  const body: Body = { ...call.body };
  const model = upstreams.models.get(body.model ?? asker.model ?? "");
  if (model === undefined) throw new Fault("inference.model");
  const input = guessTokens(body.messages ?? body.prompt ?? body.input);
  const id = await beginCall(db.run, {
    ...{ account: call.account.id, instance, operation, model: model.id, upstream: model.upstream },
    heldMicros: costOf(tokensAhead(input, operation, body), model.prices),
    limitMicros: bounds.spendLimitMicros,
  });
  if (id === null) throw new Fault("inference.quota");
  return converse({ deps, call, id, operation, model, input, body });
}

interface Conversation {
  deps: Deps;
  call: Pick<Asking, "signal">;
  /** In the ledger. */
  id: string;
  operation: Operation;
  model: Model;
  /** Guessed from what is asked. */
  input: number;
  body: Body;
}

async function converse(about: Conversation): Promise<Answer> {
  const { deps, call, operation, model, input, body } = about;
  const life = new Life(deps.bounds.timeoutMs, call.signal);
  let exchange: GuardedExchange | null = null;
  try {
    const ask = { method: "POST", headers: { ...model.headers, "content-type": "application/json" } };
    const bytes = Buffer.from(JSON.stringify(askOf(about)));
    exchange = await guardedExchange(
      deps.upstreams.guard,
      model.urlOf(PATHS[operation]),
      { ...ask, body: bytes },
      life.signal,
    );
    if (exchange.status !== 200) {
      const refusal = await refusalOf(exchange, model);
      await end(about, "failed", null);
      life.close(exchange);
      return refusal;
    }
    const mediaType = exchange.headers["content-type"] ?? "";
    if (body.stream === true && /^text\/event-stream\b/i.test(mediaType))
      return {
        status: 200,
        download: stream(about, exchange, life),
        mediaType: "text/event-stream; charset=utf-8",
      };
    const whole = await readWhole(exchange, ANSWER_BYTES_MAX);
    const answer = parse(whole);
    if (answer === null) throw new Fault("inference.upstream");
    const guessed = () => ({ input, output: guessTokens(contentOf(answer)) });
    await end(about, "answered", readUsage(answer.usage) ?? guessed());
    life.close(exchange);
    return { status: 200, bytes: whole, mediaType: "application/json; charset=utf-8" };
  } catch (error) {
    // B: what was asked had been sent by then, as far as anybody knows.
    const cut = life.signal.aborted;
    await end(about, cut ? "cut" : "failed", cut ? { input, output: 0 } : null);
    life.close(exchange);
    throw life.late ? new Fault("inference.too-slow") : faultOf(error);
  }
}

/** Towards the upstream: what the client asked, with the count of what is used. */
function askOf({ body, model, operation }: Conversation): Record<string, unknown> {
  const streamed = body.stream === true && operation !== "embeddings";
  return {
    ...body,
    model: model.id,
    ...(streamed && { stream_options: { ...body.stream_options, include_usage: true } }),
  };
}

async function* stream(
  about: Conversation,
  exchange: GuardedExchange,
  life: Life,
): AsyncGenerator<Uint8Array> {
  const { deps, body, input } = about;
  const seen: Seen = { usage: null, output: 0, done: false };
  const idle = setTimeout(() => life.expire(), deps.bounds.idleMs);
  async function* heard(): AsyncGenerator<Uint8Array> {
    for await (const part of exchange.body) {
      idle.refresh();
      yield part as Uint8Array;
    }
  }
  try {
    const wanted = body.stream_options?.include_usage === true;
    for await (const event of eventsOf(heard())) {
      const passed = passEvent(event, seen, wanted);
      if (passed !== null) yield Buffer.from(passed);
    }
    // The connection is cut: nothing else says to a client that this is not all.
    if (!seen.done) throw new Error("a model's server ended before its answer did");
  } finally {
    clearTimeout(idle);
    life.close(exchange);
    await end(about, seen.done ? "answered" : "cut", seen.usage ?? { input, output: seen.output });
  }
}

/** A. */
async function end(about: Conversation, outcome: Outcome, tokens: Tokens | null): Promise<void> {
  const costMicros = tokens === null ? 0 : costOf(tokens, about.model.prices);
  await endCall(about.deps.db.run, about.id, { outcome, tokens, costMicros });
}

/** How long a call may go on: until its time is over, or its client has gone. */
class Life {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  late = false;

  constructor(timeoutMs: number, gone: AbortSignal) {
    this.#timer = setTimeout(() => this.expire(), timeoutMs);
    if (gone.aborted) this.#controller.abort();
    else gone.addEventListener("abort", () => this.#controller.abort(), { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  expire(): void {
    this.late = true;
    this.#controller.abort();
  }

  close(exchange: GuardedExchange | null): void {
    clearTimeout(this.#timer);
    exchange?.close();
  }
}

/** What the client did wrong is told in the upstream's words; everything else is nothing to the client (C). */
async function refusalOf(exchange: GuardedExchange, { headers }: Model): Promise<Answer> {
  const { status } = exchange;
  if (status === 429) throw new Fault("inference.busy", {}, { retryAfterSeconds: 5 });
  if (!CALLERS_FAULT.has(status)) throw new Fault("inference.upstream");
  const said = parse(await readWhole(exchange, REFUSAL_BYTES_MAX))?.error;
  const { message, code, param } = (typeof said === "object" && said !== null ? said : {}) as Record<
    string,
    unknown
  >;
  const key = headers.authorization?.replace(/^Bearer /, "");
  const words =
    typeof message === "string" && (key === undefined || !message.includes(key))
      ? message.slice(0, WORDS_MAX)
      : "The model's server refused the request.";
  return {
    status,
    body: {
      error: { message: words, type: "invalid_request_error", code: wordOf(code), param: wordOf(param) },
    },
  };
}

const wordOf = (value: unknown): string | null =>
  typeof value === "string" && /^[\w.[\]-]{1,100}$/.test(value) ? value : null;

async function readWhole({ body }: GuardedExchange, bytesMax: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of body) {
    length += (part as Buffer).length;
    if (length > bytesMax) throw new Fault("inference.upstream");
    parts.push(part as Buffer);
  }
  return Buffer.concat(parts);
}

function parse(bytes: Buffer): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Words of an obstacle name our network; they are for the operator's tests and not for an instance. */
const faultOf = (error: unknown): unknown => {
  if (error instanceof Fault) return error;
  if (error instanceof Obstructed && error.obstacle === "too-slow")
    return new Fault("inference.too-slow", {}, { cause: error });
  const code = (error as { code?: unknown }).code;
  // The database's own faults are not the upstream's.
  return error instanceof Obstructed || code === "ECONNRESET" || code === "ABORT_ERR"
    ? new Fault("inference.upstream", {}, { cause: error })
    : error;
};
