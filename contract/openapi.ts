// SPDX-License-Identifier: Apache-2.0
/** Operations → an OpenAPI 3.1 document. JSON Schema is the schema of 3.1, so nothing is translated. */
import { ERRORS } from "./errors.ts";
import type { Operation } from "./operation.ts";

export interface DocumentOptions {
  title: string;
  version: string;
  description: string;
  operations: readonly Operation[];
  /** JSON Schema of an error body. */
  error: unknown;
}

export function openApiDocument(options: DocumentOptions): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of options.operations) {
    const path = operation.path.replace(/:(\w+)/g, "{$1}").replace(/\*$/, "{path}");
    paths[path] = { ...paths[path], [operation.method.toLowerCase()]: describe(operation) };
  }
  const tags = [...new Set(options.operations.map((operation) => operation.tag))].map((name) => ({ name }));
  return {
    openapi: "3.1.0",
    info: {
      title: options.title,
      version: options.version,
      description: options.description,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    tags,
    paths,
    components: {
      schemas: { Error: options.error },
      securitySchemes: {
        apiKey: { type: "http", scheme: "bearer", description: "An API key of this surface" },
      },
    },
  };
}

function describe(operation: Operation): Record<string, unknown> {
  const open = operation.access === "public" || operation.access === "signed";
  return {
    operationId: operation.id,
    tags: [operation.tag],
    summary: operation.summary,
    ...(operation.description === undefined ? {} : { description: operation.description }),
    security: open ? [] : [{ apiKey: [] }],
    parameters: parametersOf(operation),
    ...bodyOf(operation),
    responses: { ...successesOf(operation), ...errorsOf(operation) },
  };
}

function parametersOf(operation: Operation): unknown[] {
  const list = (schema: Operation["params"], where: "path" | "query") =>
    Object.entries(schema?.properties ?? {}).map(([name, property]) => ({
      name: name === "*" ? "path" : name,
      in: where,
      required: where === "path",
      schema: property,
    }));
  const key = {
    name: "Idempotency-Key",
    in: "header",
    required: false,
    description: "Kept 24 hours; the first result is replayed.",
    schema: { type: "string", maxLength: 255 },
  };
  return [
    ...list(operation.params, "path"),
    ...list(operation.query, "query"),
    ...(operation.idempotent ? [key] : []),
  ];
}

function bodyOf(operation: Operation): Record<string, unknown> {
  if (operation.bodyKind === "none") return {};
  const media = operation.bodyKind === "bytes" ? "application/octet-stream" : "application/json";
  const schema =
    operation.body ??
    (operation.bodyKind === "bytes" ? { type: "string", format: "binary" } : { type: "object" });
  const example = operation.example?.body;
  return {
    requestBody: {
      required: operation.bodyKind !== "json" || hasRequired(operation),
      content: { [media]: { schema, ...(example === undefined ? {} : { example }) } },
    },
  };
}

const hasRequired = ({ body }: Operation): boolean =>
  ((body as { required?: string[] } | undefined)?.required ?? []).length > 0;

const successesOf = ({ responses }: Operation) =>
  Object.fromEntries(
    Object.entries(responses).map(([status, { description, schema, mediaType }]) => [
      status,
      {
        description,
        ...(schema === undefined && mediaType === undefined
          ? {}
          : { content: { [mediaType ?? "application/json"]: schema === undefined ? {} : { schema } } }),
      },
    ]),
  );

/** Codes of one status share a response; every operation can also answer the statuses that any request can. */
function errorsOf(operation: Operation): Record<string, unknown> {
  const codes = [...operation.errors, "request.malformed", "platform.unexpected"] as const;
  const byStatus = Map.groupBy([...new Set(codes)], (code) => ERRORS[code].status);
  return Object.fromEntries(
    [...byStatus]
      .sort(([a], [b]) => a - b)
      .map(([status, list]) => [
        String(status),
        {
          description: list.join(", "),
          content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
        },
      ]),
  );
}
