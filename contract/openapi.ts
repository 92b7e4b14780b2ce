// SPDX-License-Identifier: Apache-2.0
/** Operations → an OpenAPI 3.1 document. JSON Schema is the schema of 3.1, so nothing is translated. */
import { ERRORS } from "./errors.ts";
import type { Operation } from "./operation.ts";
import { sampleOf } from "./samples.ts";

export interface DocumentOptions {
  title: string;
  version: string;
  description: string;
  operations: readonly Operation[];
  /** JSON Schema of an error body. */
  error: unknown;
  /** Calls carry access tokens, which are got here; without it, API keys. */
  tokens?: true;
  /** Each operation with a call of it (samples.ts). */
  samples?: true;
}

export function openApiDocument(options: DocumentOptions): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of options.operations) {
    const path = operation.path.replace(/:(\w+)/g, "{$1}").replace(/\*$/, "{path}");
    paths[path] = {
      ...paths[path],
      [operation.method.toLowerCase()]: describe(operation, options.samples === true),
    };
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
      securitySchemes: options.tokens === true ? TOKENS : API_KEY,
    },
  };
}

const API_KEY = {
  apiKey: { type: "http", scheme: "bearer", description: "An API key of this surface" },
};

/** The first has the name of the keys' scheme, so that operations need not know which it is. */
const TOKENS = {
  apiKey: {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
    description: "An access token; a prefix `nxcdb-` is taken off.",
  },
  clientCredentials: {
    type: "oauth2",
    flows: { clientCredentials: { tokenUrl: "/cdb/oauth2/token", scopes: {} } },
  },
};

/** Who the caller acts for; neither: for themselves. */
const ACT_AS = [
  {
    name: "X-Act-As-Kind",
    in: "header",
    required: false,
    description: "Given with X-Act-As-ID or not at all.",
    schema: { type: "string", enum: ["user", "organization", "channel_partner"] },
  },
  { name: "X-Act-As-ID", in: "header", required: false, schema: { type: "string", format: "uuid" } },
];

function describe(operation: Operation, withSample: boolean): Record<string, unknown> {
  const sample = withSample ? sampleOf(operation) : null;
  const description = [operation.description, sample && `\`\`\`sh\n${sample.curl}\n\`\`\``].filter(Boolean);
  const open = operation.access === "public" || operation.access === "signed";
  return {
    operationId: operation.id,
    tags: [operation.tag],
    summary: operation.summary,
    ...(description.length === 0 ? {} : { description: description.join("\n\n") }),
    security: open
      ? []
      : operation.access === "serverOrAnyone"
        ? [{}, { apiKey: [] }]
        : [{ apiKey: [] }, ...(operation.access === "bearer" ? [{ clientCredentials: [] }] : [])],
    parameters: parametersOf(operation),
    ...bodyOf(operation, sample?.body),
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
    ...(operation.access === "bearer" ? ACT_AS : []),
    ...(operation.idempotent ? [key] : []),
  ];
}

function bodyOf(operation: Operation, sample: unknown): Record<string, unknown> {
  if (operation.bodyKind === "none") return {};
  const media =
    operation.bodyMediaType ??
    (operation.bodyKind === "bytes" ? "application/octet-stream" : "application/json");
  const schema =
    operation.body ??
    (operation.bodyKind === "bytes" ? { type: "string", format: "binary" } : { type: "object" });
  const example = sample ?? operation.example?.body;
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
