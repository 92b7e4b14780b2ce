// SPDX-License-Identifier: Apache-2.0
/**
 * Swagger UI, served by us: a page for each document, and its assets once. Nothing is loaded from
 * elsewhere, and the page may run no script but these files: what a document holds is text that may
 * have come from anybody who names a thing.
 */
import { readFileSync } from "node:fs";
import type { FastifyInstance } from "fastify";

const ASSETS = "/openapi-assets";
const FILES: Record<string, string> = {
  "swagger-ui.css": "text/css; charset=utf-8",
  "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
};
const POLICY = [
  ...["default-src 'none'", "script-src 'self'", "style-src 'self' 'unsafe-inline'", "img-src 'self' data:"],
  ...[
    "connect-src 'self'",
    "font-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ],
].join("; ");
/** The document's address stands in the page, so that one script serves all. */
const START = `"use strict";
window.onload = () => {
  const { url } = document.getElementById("swagger-ui").dataset;
  SwaggerUIBundle({ url, dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null, filter: true, tagsSorter: "alpha" });
};
`;

export function addSwaggerAssets(app: FastifyInstance): void {
  const asset = (name: string, type: string, content: Buffer | string) =>
    app.get(`${ASSETS}/${name}`, async (_request, reply) =>
      reply
        .type(type)
        .header("cache-control", "public, max-age=3600")
        .header("x-content-type-options", "nosniff")
        .send(content),
    );
  for (const [name, type] of Object.entries(FILES))
    asset(name, type, readFileSync(new URL(name, import.meta.resolve("swagger-ui-dist/package.json"))));
  asset("start.js", "text/javascript; charset=utf-8", START);
}

export function addSwaggerPage(app: FastifyInstance, documentPath: string, title: string): void {
  const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${title}</title>
<link rel="stylesheet" href="${ASSETS}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui" data-url="${documentPath}"></div>
<script src="${ASSETS}/swagger-ui-bundle.js"></script>
<script src="${ASSETS}/start.js"></script>
</body>
</html>
`;
  app.get(documentPath.replace(/\.json$/, ".html"), async (_request, reply) =>
    reply
      .type("text/html; charset=utf-8")
      .header("content-security-policy", POLICY)
      .header("x-content-type-options", "nosniff")
      .header("referrer-policy", "no-referrer")
      .send(page),
  );
}
