// SPDX-License-Identifier: Apache-2.0
/** Sending an answer: JSON, stored bytes, server-sent events or a download. */
import { once } from "node:events";
import type { FastifyReply } from "fastify";
import type { Logger } from "pino";
import type { Answer, ServerEvent } from "./call.ts";

/** A promise only of what takes its time: most answers are out when it returns. */
export function send(reply: FastifyReply, answer: Answer, log: Logger): FastifyReply | Promise<FastifyReply> {
  reply.code(answer.status);
  reply.header("cache-control", "no-store");
  // Over the line above, where it says otherwise.
  if (answer.headers !== undefined) reply.headers(answer.headers);
  if ("writes" in answer && answer.writes !== undefined) return letWrite(reply, answer.writes, log);
  if ("events" in answer && answer.events !== undefined) return sendEvents(reply, answer.events, log);
  if ("download" in answer && answer.download !== undefined) {
    reply.type(answer.mediaType).header("x-content-type-options", "nosniff");
    return sendChunks(reply, answer.download, log);
  }
  if ("bytes" in answer && answer.bytes !== undefined)
    return reply.type(answer.mediaType).send(Buffer.from(answer.bytes));
  if (answer.status === 204 || answer.status === 304) return reply.send();
  return sendJson(reply, answer.body ?? {});
}

/**
 * Node sends a short text together with the header, in the text's encoding, and bytes that a client gave us to carry back would
 * become others. Beside bytes the header stays as it is.
 */
export function sendJson(reply: FastifyReply, body: unknown): FastifyReply {
  const text = JSON.stringify(body);
  const carried = reply.getHeader("x-correlation-id");
  const plain = carried === undefined || /^[\x20-\x7e]*$/.test(String(carried));
  return reply.type("application/json; charset=utf-8").send(plain ? text : Buffer.from(text));
}

async function letWrite(
  reply: FastifyReply,
  writes: NonNullable<Extract<Answer, { writes: unknown }>["writes"]>,
  log: Logger,
): Promise<FastifyReply> {
  reply.hijack();
  for (const [name, value] of Object.entries(reply.getHeaders()))
    if (value !== undefined) reply.raw.setHeader(name, value);
  try {
    await writes(reply.request.raw, reply.raw);
  } catch (error) {
    log.error({ err: error }, "an answer could not be written");
    if (reply.raw.headersSent) reply.raw.destroy();
    else
      reply.raw.writeHead(500, { "content-type": "text/plain" }).end("Something went wrong on our side.\n");
  }
  return reply;
}

async function sendEvents(
  reply: FastifyReply,
  events: AsyncGenerator<ServerEvent>,
  log: Logger,
): Promise<FastifyReply> {
  reply.header("x-accel-buffering", "no").type("text/event-stream; charset=utf-8");
  async function* lines(): AsyncGenerator<Uint8Array> {
    for await (const { id, event, data } of events) {
      yield Buffer.from(
        `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`,
      );
    }
  }
  return sendChunks(reply, lines(), log);
}

/** Waits for the client to take what was sent, so a slow one slows the sender instead of filling memory. */
async function sendChunks(
  reply: FastifyReply,
  chunks: AsyncIterable<Uint8Array>,
  log: Logger,
): Promise<FastifyReply> {
  reply.hijack();
  const { raw } = reply;
  const headers = Object.fromEntries(
    Object.entries(reply.getHeaders()).filter(([, value]) => value !== undefined),
  );
  raw.writeHead(reply.statusCode, headers as Record<string, string>);
  raw.flushHeaders();
  const gone = new AbortController();
  raw.once("close", () => gone.abort());
  try {
    for await (const chunk of chunks) {
      if (raw.destroyed) break;
      if (!raw.write(chunk)) await once(raw, "drain", { signal: gone.signal });
    }
    raw.end();
  } catch (error) {
    if (!gone.signal.aborted) log.warn({ err: error }, "an answer was cut short");
    // The status is out; only a broken connection can still say that this is not all.
    raw.destroy();
  }
  return reply;
}
