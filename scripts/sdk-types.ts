// SPDX-License-Identifier: Apache-2.0
/**
 * Operations → TypeScript that imports nothing: what a client in another project copies or installs to
 * have each call's parameters, body, answers and error codes checked. One file for each API document.
 */
import type { TSchema } from "typebox";
import type { ApiDocument } from "#contract/documents.ts";
import type { Operation } from "#contract/operation.ts";

export function clientTypes({ title, operations, error }: ApiDocument): string {
  return `// SPDX-License-Identifier: Apache-2.0
// Made from the contract's tables by \`npm run generate\`; not edited by hand.
/** ${title}: every operation by its id. */
export interface Operations {
${operations.map((operation) => indented(describe(operation))).join("\n")}
}

/** What an answer of status 400 and above holds. */
export type ErrorBody = ${typeOf(error as TSchema)};
`;
}

function describe(operation: Operation): string {
  const { id, method, path, summary, params, query, idempotent, errors } = operation;
  const answers = Object.entries(operation.responses).map(
    ([status, { schema, mediaType }]) => `${status}: ${answerOf(schema, mediaType)};`,
  );
  const lines = [
    `method: ${JSON.stringify(method)};`,
    `path: ${JSON.stringify(path)};`,
    ...(params === undefined ? [] : [`params: ${typeOf(params)};`]),
    ...(query === undefined ? [] : [`query: ${typeOf(query)};`]),
    ...(operation.bodyKind === "none"
      ? []
      : [`body${isOptional(operation) ? "?" : ""}: ${bodyOf(operation)};`]),
    `answers: {\n${indented(answers.join("\n"))}\n};`,
    `errors: ${errors.length === 0 ? "never" : errors.map((code) => JSON.stringify(code)).join(" | ")};`,
    ...(idempotent ? ["/** Takes Idempotency-Key. */", "idempotent: true;"] : []),
  ];
  return `${comment(summary)}\n${JSON.stringify(id)}: {\n${indented(lines.join("\n"))}\n};`;
}

const isOptional = ({ body, bodyKind }: Operation) =>
  bodyKind === "json" && ((body as JsonSchema | undefined)?.required ?? []).length === 0;

const bodyOf = ({ body, bodyKind }: Operation) =>
  body !== undefined ? typeOf(body) : bodyKind === "json" ? "Record<string, unknown>" : "Uint8Array";

/** A stream of bytes or lines is the client's to read; only JSON has a type. */
function answerOf(schema: TSchema | undefined, mediaType: string | undefined): string {
  if (mediaType !== undefined && !/json$/.test(mediaType))
    return mediaType.startsWith("text/") ? "string" : "Uint8Array";
  return schema === undefined ? (mediaType === undefined ? "undefined" : "unknown") : typeOf(schema);
}

interface JsonSchema {
  type?: string;
  const?: unknown;
  enum?: unknown[];
  anyOf?: JsonSchema[];
  allOf?: JsonSchema[];
  items?: JsonSchema;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  patternProperties?: Record<string, JsonSchema>;
  additionalProperties?: boolean | JsonSchema;
  description?: string;
}

/** The keywords that the contract uses; one it does not know stops the making, so that no type says less than is checked. */
export function typeOf(schema: TSchema): string {
  const given = schema as JsonSchema;
  if (given.const !== undefined) return JSON.stringify(given.const);
  if (given.enum !== undefined) return union(given.enum.map((each) => JSON.stringify(each)));
  if (given.anyOf !== undefined) return union(given.anyOf.map((each) => typeOf(each as TSchema)));
  if (given.allOf !== undefined) return given.allOf.map((each) => `(${typeOf(each as TSchema)})`).join(" & ");
  switch (given.type) {
    case "string":
    case "boolean":
    case "null":
      return given.type;
    case "integer":
    case "number":
      return "number";
    case "array":
      return `(${given.items === undefined ? "unknown" : typeOf(given.items as TSchema)})[]`;
    case "object":
      return objectOf(given);
    case undefined:
      return "unknown";
    default:
      throw new Error(`no type for ${JSON.stringify(given).slice(0, 200)}`);
  }
}

function objectOf({ properties, required = [], patternProperties, additionalProperties }: JsonSchema) {
  const members = Object.entries(properties ?? {}).map(
    ([name, each]) =>
      `${each.description === undefined ? "" : `${comment(each.description)}\n`}${key(name)}${required.includes(name) ? "" : "?"}: ${typeOf(each as TSchema)};`,
  );
  const values = [
    ...Object.values(patternProperties ?? {}),
    ...(typeof additionalProperties === "object" ? [additionalProperties] : []),
  ];
  const rest = values.length > 0 ? union(values.map((each) => typeOf(each as TSchema))) : null;
  if (members.length === 0) return `Record<string, ${rest ?? "unknown"}>`;
  return `{\n${indented(members.join("\n"))}\n}${rest === null ? "" : ` & Record<string, unknown>`}`;
}

const union = (types: string[]) => [...new Set(types)].join(" | ") || "never";
const key = (name: string) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name));
const comment = (text: string) => `/** ${text.replaceAll("*/", "* /").replace(/\s+/g, " ").trim()} */`;
const indented = (text: string) => text.replace(/^(?=.)/gm, "  ");
