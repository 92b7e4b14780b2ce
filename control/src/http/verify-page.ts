// SPDX-License-Identifier: Apache-2.0
/**
 * The page that checks proofs, in the reader's browser. It is made of `verify-page/` and committed here as one file, which has
 * its own policy in it, so that a saved copy keeps it: no script but its own, and nothing asked of anybody.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import type { FastifyInstance } from "fastify";
import { matchesEtag } from "./etag.ts";

const PAGE = readFileSync(new URL("verify-page.html", import.meta.url));
/** Once, and not for each of the anybodies who may ask. */
const PACKED = gzipSync(PAGE, { level: 9 });
const ETAG = `"${createHash("sha256").update(PAGE).digest("hex").slice(0, 32)}"`;
/** What a page cannot say of itself comes with the answer: whoever frames it could dress it up. */
const POLICY = `${/http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(PAGE.toString())![1]}; frame-ancestors 'none'`;

export function addVerifyPage(app: FastifyInstance): void {
  app.get("/verify", async (request, reply) => {
    reply.type("text/html; charset=utf-8").headers({
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
      vary: "accept-encoding",
      // Weak: the same page, packed or not.
      etag: `W/${ETAG}`,
    });
    if (matchesEtag(request.headers["if-none-match"], ETAG)) return reply.code(304).send();
    const packed = /(^|,)\s*gzip\s*(,|$)/i.test(request.headers["accept-encoding"] ?? "");
    return packed ? reply.header("content-encoding", "gzip").send(PACKED) : reply.send(PAGE);
  });
}
