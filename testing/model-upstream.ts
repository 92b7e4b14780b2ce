// SPDX-License-Identifier: Apache-2.0
/**
 * A server of models that speaks OpenAI's protocol: chat, completions and embeddings, whole and as server-sent events, with
 * `stream_options.include_usage` as there: every piece has then `usage: null`, and one more comes last whose list of choices is empty.
 * It says the words that it is told to, and can be made to answer as servers under load do.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const INPUT_TOKENS = 11;

export interface Manner {
  words?: string[];
  /** An answer is written so many bytes at a time. */
  splitBytes?: number;
  /** Pieces of a stream after which nothing comes any more: silence, the end of the connection, or signs of life for ever. */
  stopsAfter?: number;
  stop?: "silence" | "cut" | "alive";
  status?: number;
  message?: string;
  /** Says nothing of what was used. */
  uncounted?: boolean;
  crlf?: boolean;
  /** Asks for no key, as servers on one's own machine do. */
  open?: boolean;
}

export interface ModelUpstream extends AsyncDisposable {
  baseUrl: string;
  key: string;
  /** From the next request on. */
  manner: Manner;
  /** What was asked, newest last. */
  asked: { path: string; body: Record<string, unknown> }[];
  /** Requests whose client went away before the answer was over. */
  abandoned: number;
}

export async function startModelUpstream(): Promise<ModelUpstream> {
  const key = "sk-of-the-operator-0123456789";
  const server = createServer((request, response) => {
    answer(upstream, request, response).catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const upstream: ModelUpstream = {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    ...{ key, manner: {}, asked: [], abandoned: 0 },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return upstream;
}

async function answer(
  upstream: ModelUpstream,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.on("close", () => {
    if (!response.writableFinished) upstream.abandoned++;
  });
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  const body = JSON.parse(Buffer.concat(parts).toString()) as Record<string, unknown>;
  const path = request.url ?? "";
  upstream.asked.push({ path, body });
  const { manner } = upstream;
  const refuse = (status: number, message: string) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(
      JSON.stringify({
        error: { message, type: "invalid_request_error", code: "of_the_server", param: null },
      }),
    );
  };
  if (!manner.open && request.headers.authorization !== `Bearer ${upstream.key}`)
    return refuse(401, "Incorrect API key provided");
  if (manner.status !== undefined) return refuse(manner.status, manner.message ?? "no");
  if (manner.stop === "silence" && body.stream !== true) return;
  const words = manner.words ?? ["Hello", ", ", "wörld 🌍", "!"];
  const counted = {
    prompt_tokens: INPUT_TOKENS,
    completion_tokens: words.length,
    total_tokens: INPUT_TOKENS + words.length,
  };
  if (path === "/v1/embeddings") {
    const usage = { prompt_tokens: INPUT_TOKENS, total_tokens: INPUT_TOKENS };
    const data = [{ object: "embedding", index: 0, embedding: [0.5, -0.25] }];
    return whole(response, { object: "list", model: body.model, data, usage });
  }
  const chat = path === "/v1/chat/completions";
  if (!chat && path !== "/v1/completions") return refuse(404, "no such path");
  const usage = manner.uncounted ? {} : { usage: counted };
  if (body.stream !== true) {
    const text = words.join("");
    const choice = chat ? { message: { role: "assistant", content: text } } : { text };
    const choices = [{ index: 0, finish_reason: "stop", ...choice }];
    return whole(response, { id: "c-1", object: "chat.completion", model: body.model, choices, ...usage });
  }
  const options = body.stream_options as { include_usage?: boolean } | undefined;
  const counts = options?.include_usage === true && !manner.uncounted;
  response.writeHead(200, { "content-type": "text/event-stream" });
  const base = { id: "c-1", object: "chat.completion.chunk", model: body.model };
  const choiceOf = (text: string) => (chat ? { delta: { content: text } } : { text });
  const pieces = words.map((word) => ({
    ...{ ...base, choices: [{ index: 0, finish_reason: null, ...choiceOf(word) }] },
    ...(counts && { usage: null }),
  }));
  const end = manner.crlf ? "\r\n\r\n" : "\n\n";
  const events = [
    ...[": keep-alive", ...pieces.map((piece) => `data: ${JSON.stringify(piece)}`)],
    ...(counts ? [`data: ${JSON.stringify({ ...base, choices: [], usage: counted })}`] : []),
    "data: [DONE]",
  ];
  for (const event of events.slice(
    0,
    manner.stopsAfter === undefined ? events.length : 1 + manner.stopsAfter,
  ))
    await write(response, Buffer.from(event + end), manner.splitBytes);
  if (manner.stopsAfter === undefined) response.end();
  else if (manner.stop === "cut") response.destroy();
  else if (manner.stop === "alive") {
    const alive = setInterval(() => response.write(": keep-alive\n\n"), 50);
    response.on("close", () => clearInterval(alive));
  }
}

function whole(response: ServerResponse, body: object): void {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

async function write(response: ServerResponse, bytes: Buffer, splitBytes = bytes.length): Promise<void> {
  for (let at = 0; at < bytes.length; at += splitBytes) {
    response.write(bytes.subarray(at, at + splitBytes));
    // Each in a packet of its own, as far as the system lets them be.
    await new Promise((resolve) => setImmediate(resolve));
  }
}
