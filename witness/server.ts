// SPDX-License-Identifier: Apache-2.0
/**
 * A witness over HTTP: `POST /add-checkpoint` for logs, and for anybody `GET /<sha256 of a log's name>/checkpoint`,
 * what was witnessed of it last, and `GET /key`. Anybody may connect; a request is small, and must come soon.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { writeNoteKey } from "#evidence/log/note.ts";
import type { WitnessKey } from "./key.ts";
import { REQUEST_BYTES_MAX } from "./request.ts";
import type { Witness } from "./witness.ts";

const REQUEST_MS = 10_000;
const CONNECTIONS_MAX = 256;

export function witnessServer(witness: Witness, key: WitnessKey, onError: (error: unknown) => void): Server {
  const answer = (
    response: ServerResponse,
    status: number,
    body: string,
    type = "text/plain; charset=utf-8",
  ) =>
    response
      .writeHead(status, {
        "content-type": type,
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
      })
      .end(body);

  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    const path = (request.url ?? "").split("?")[0];
    if (path === "/add-checkpoint") {
      if (request.method !== "POST") return answer(response, 405, "POST it\n");
      const body = await bodyOf(request);
      if (body === null) return answer(response, 413, "larger than any checkpoint\n");
      const reply = await witness.add(body);
      return answer(response, reply.status, reply.body, reply.mediaType);
    }
    if (request.method !== "GET" && request.method !== "HEAD") return answer(response, 405, "GET it\n");
    if (path === "/key") return answer(response, 200, `${writeNoteKey(key)}\n`);
    const [, hash] = /^\/([0-9a-f]{64})\/checkpoint$/.exec(path ?? "") ?? [];
    const note = hash === undefined ? null : witness.newest(hash);
    return note === null ? answer(response, 404, "not here\n") : answer(response, 200, note);
  };

  const server = createServer(
    { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS, connectionsCheckingInterval: 1000 },
    (request, response) => {
      serve(request, response).catch((error) => {
        onError(error);
        if (!response.headersSent) answer(response, 500, "nothing was witnessed\n");
        else response.destroy();
      });
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  return server;
}

/** Null for one that is too long, of which no more is read. */
async function bodyOf(request: IncomingMessage): Promise<Uint8Array | null> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Uint8Array>) {
    size += part.length;
    if (size > REQUEST_BYTES_MAX) return null;
    parts.push(part);
  }
  return Buffer.concat(parts);
}
