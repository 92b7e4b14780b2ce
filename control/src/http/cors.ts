// SPDX-License-Identifier: Apache-2.0
/**
 * Pages of other origins may call what takes access tokens. No cookie counts there, so a page can do
 * only what whoever gave it a token can; nothing is allowed with credentials.
 */
import type { FastifyReply } from "fastify";
import type { Surface } from "#contract/operation.ts";

const OPEN: ReadonlySet<Surface> = new Set<Surface>(["identity", "models", "devices"]);
const EXPOSED = [
  ...[
    "X-Pagination-Records",
    "X-Request-ID",
    "ETag",
    "Location",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
  ],
  ...["Idempotency-Replayed", "Content-Disposition", "Content-Range"],
].join(", ");
const ALLOWED = [
  ...["Authorization", "Content-Type", "X-Act-As-Kind", "X-Act-As-ID", "Idempotency-Key", "If-Match"],
  ...["If-None-Match", "Range", "Last-Event-ID"],
].join(", ");

export const allowsOrigins = (surface: Surface): boolean => OPEN.has(surface);

export function exposeHeaders(reply: FastifyReply): void {
  reply.header("access-control-allow-origin", "*").header("access-control-expose-headers", EXPOSED);
}

/** What a browser asks before the call itself. */
export function answerPreflight(reply: FastifyReply, methods: string): FastifyReply {
  exposeHeaders(reply);
  return reply
    .code(204)
    .header("access-control-allow-methods", methods)
    .header("access-control-allow-headers", ALLOWED)
    .header("access-control-max-age", "600")
    .send();
}
