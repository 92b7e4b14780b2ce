// SPDX-License-Identifier: Apache-2.0
/**
 * The page that checks proofs, in the reader's browser. It is made of `verify-page/` and committed here as one file, which has
 * its own policy in it, so that a saved copy keeps it: no script but its own, and nothing asked of anybody.
 */
import { readFileSync } from "node:fs";
import type { FastifyInstance } from "fastify";

const PAGE = readFileSync(new URL("verify-page.html", import.meta.url));
/** What a page cannot say of itself comes with the answer: whoever frames it could dress it up. */
const POLICY = `${/http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(PAGE.toString())![1]}; frame-ancestors 'none'`;

export function addVerifyPage(app: FastifyInstance): void {
  app.get("/verify", async (_request, reply) =>
    reply
      .type("text/html; charset=utf-8")
      .headers({
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
      })
      .send(PAGE),
  );
}
