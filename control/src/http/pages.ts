// SPDX-License-Identifier: Apache-2.0
/** What is served beside the operations: API documents with a page each, the page that checks proofs, metrics, readiness. */
import scalar from "@scalar/fastify-api-reference";
import type { FastifyInstance } from "fastify";
import type { Metrics } from "./metrics.ts";
import { addSwaggerAssets, addSwaggerPage } from "./swagger.ts";
import { addVerifyPage } from "./verify-page.ts";

export interface Document {
  /** e.g. `/v1/openapi.json`; the page is the same with `.html`. */
  path: string;
  title: string;
  content: Record<string, unknown>;
  page: "scalar" | "swagger";
}

export interface PagesOptions {
  documents: Document[];
  metrics: Metrics;
  /** True when requests can be served to the end: the database answers and a host is there. */
  ready(): Promise<boolean>;
  instance: string;
}

export function addPages(app: FastifyInstance, { documents, metrics, ready, instance }: PagesOptions): void {
  addSwaggerAssets(app);
  addVerifyPage(app);
  for (const { path, title, content, page } of documents) {
    const text = JSON.stringify(content);
    app.get(path, async (_request, reply) => reply.type("application/json; charset=utf-8").send(text));
    if (page === "swagger") {
      addSwaggerPage(app, path, title);
      continue;
    }
    // The page's script is served by us: a confidential product loads nothing from elsewhere.
    app.register(scalar, {
      routePrefix: path.replace(/\.json$/, ".html") as `/${string}`,
      configuration: {
        title,
        url: path,
        withDefaultFonts: false,
        telemetry: false,
        // A bar of links to elsewhere.
        showDeveloperTools: "never",
        authentication: { preferredSecurityScheme: "apiKey" },
        hideClientButton: true,
        agent: { disabled: true },
        mcp: { disabled: true },
      },
    });
  }
  app.get("/metrics", async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()));
  app.get("/livez", async (_request, reply) => reply.send("ok\n"));
  app.get("/readyz", async (_request, reply) => {
    const well = await ready();
    reply.header("x-casemate-instance", instance);
    return reply.code(well ? 200 : 503).send(well ? "ok\n" : "not ready\n");
  });
}
